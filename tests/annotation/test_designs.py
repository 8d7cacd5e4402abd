from collections import Counter
from itertools import combinations

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from annotation.calibration import parse_calibration, read_calibration
from annotation.design_summary import summarise_design
from annotation.designs import DesignPlan, assign_design, discard_design, draw_design, open_design
from annotation.errors import InputError, StudyError
from annotation.models import (
    Assignment,
    AuditEvent,
    Comparison,
    JudgingDesign,
    Prompt,
    Rater,
    RaterKind,
    Response,
    Split,
    StudyStatus,
    System,
)
from annotation.study_files import read_criteria
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_prompt,
    make_response,
    make_study,
    make_system,
)

pytestmark = pytest.mark.django_db

CALIBRATION = """
[[pairs]]
prompt = "First, what would you say?"
a = "I hear you."
b = "Do this."
verdicts = { empathy = { winner = "A", explanation = "It listens." }, safety = { winner = "tie" } }

[[pairs]]
prompt = "And now?"
risk = true
a = "Cheer up."
b = "Are you safe?"
verdicts = { empathy = { winner = "B" }, safety = { winner = "B" } }
"""


@pytest.fixture
def study():
    return make_study()


@pytest.fixture
def systems(study):
    return [make_system(study, name=name) for name in ("base", "dpo", "modpo")]


def answer(study, systems, number):
    """Test prompts of different lengths, each third one of risk, answered by all the systems."""
    for index in range(number):
        prompt = make_prompt(study, split=Split.TEST, risk=index % 3 == 0, text="word " * (index + 1))
        for system in systems:
            make_response(prompt, system)


def clinicians(study, number):
    return [make_clinician(study) for _ in range(number)]


def plan(systems, **asked):
    return DesignPlan(**{"name": "main", "systems": systems, "prompts": 12, **asked})


def practice():
    return parse_calibration(CALIBRATION, where="file.toml")


def session(rater, design):
    return list(
        rater.assignments.filter(comparison__design=design)
        .order_by("position")
        .values_list("comparison", "comparison__calibration", "presentation", "a_on_left", "position")
    )


def test_pairs_are_drawn_from_the_strata_in_proportion_and_carry_their_stratum(study, systems):
    answer(study, systems[:2], 30)
    design = draw_design(study, plan(systems[:2], prompts=15))
    pairs = design.comparisons.select_related("response_a__prompt")
    assert len(pairs) == 15
    assert sum(there for there, _ in design.strata.values()) == 30
    assert Counter(pair.stratum for pair in pairs) == {name: k for name, (_, k) in design.strata.items()}
    assert all(abs(drawn - there / 2) < 1 for there, drawn in design.strata.values())
    assert all(pair.stratum.startswith("risk") == pair.response_a.prompt.risk for pair in pairs)


def test_the_same_seed_draws_the_same_study_and_another_seed_another(study, systems):
    answer(study, systems[:2], 30)
    clinicians(study, 3)
    drawn = []
    for seed in (1, 1, 2):
        design = draw_design(study, plan(systems[:2], seed=seed, repeated_pairs=4, raters_per_pair=2))
        drawn.append([session(rater, design) for rater in study.raters.all()])
        discard_design(design)
    assert drawn[0] == drawn[1] != drawn[2]


def test_all_pairs_of_systems_are_compared_or_each_with_a_baseline(study, systems):
    answer(study, systems, 20)
    every = draw_design(study, plan(systems, prompts=5))
    against = draw_design(study, plan(systems, name="against", prompts=5, baseline=systems[1]))

    def compared(design):
        return Counter(design.comparisons.values_list("response_a__system__name", "response_b__system__name"))

    assert compared(every) == {("base", "dpo"): 5, ("base", "modpo"): 5, ("dpo", "modpo"): 5}
    assert compared(against) == {("base", "dpo"): 5, ("dpo", "modpo"): 5}
    prompts = [set(d.comparisons.values_list("response_a__prompt", flat=True)) for d in (every, against)]
    assert not prompts[0] & prompts[1]


def test_pairs_that_judges_saw_are_taken_and_those_of_clinicians_or_designs_are_not(study, systems):
    answer(study, systems[:2], 1)
    prompt = Prompt.objects.get()
    seen, given = (make_comparison(make_prompt(study, split=Split.TEST), *systems[:2]) for _ in range(2))
    judge = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name="gpt")
    make_assignment(seen, judge)
    make_assignment(given, make_clinician(study))
    design = draw_design(study, plan(systems[:2], prompts=2))
    seen.refresh_from_db()
    assert seen.design == design
    assert set(design.comparisons.values_list("response_a__prompt", flat=True)) == {
        prompt.pk,
        seen.response_a.prompt_id,
    }
    with pytest.raises(InputError, match="1 prompts were asked for, and 0 test prompts"):
        draw_design(study, plan(systems[:2], name="more", prompts=1))


def test_practice_comes_first_for_all_in_one_order_and_repeats_late_with_their_sides_redrawn(study, systems):
    answer(study, systems[:2], 20)
    raters = clinicians(study, 3)
    design = draw_design(study, plan(systems[:2], prompts=20, repeated_pairs=8, calibration=practice()))
    practised = list(design.comparisons.filter(calibration=True).order_by("pk").values_list("pk", flat=True))
    sessions = [session(rater, design) for rater in raters]
    for rows in sessions:
        assert [row[4] for row in rows] == list(range(1, 31))
        assert [row[0] for row in rows[:2]] == practised
        real = rows[2:]
        assert not any(calibration for _, calibration, *_ in real)
        firsts, again = ([row for row in real if row[2] == sight] for sight in (1, 2))
        assert len({row[0] for row in firsts}) == 20
        assert sum(row[3] for row in firsts) == 10
        assert sum(row[3] for row in again) == 4
        places = {(row[0], row[2]): row[4] for row in real}
        assert all(places[row[0], 2] - places[row[0], 1] > 28 / 3 for row in again)
    assert len({tuple(row[0] for row in rows) for rows in sessions}) == 3
    assert len({frozenset(row[0] for row in rows if row[2] == 2) for rows in sessions}) == 3


def test_with_k_of_n_clinicians_loads_and_shared_pairs_are_balanced(study, systems):
    answer(study, systems[:2], 30)
    raters = clinicians(study, 6)
    design = draw_design(study, plan(systems[:2], prompts=30, raters_per_pair=3, repeated_pairs=2))
    judged = [set(r.assignments.filter(presentation=1).values_list("comparison", flat=True)) for r in raters]
    assert {len(pairs) for pairs in judged} == {15}
    shared = [len(first & second) for first, second in combinations(judged, 2)]
    assert sum(shared) / len(shared) == 6
    assert max(shared) - min(shared) <= 2
    summary = summarise_design(design)
    assert summary.raters_a_pair == (3, 3)
    assert summary.shared_pairs == (min(shared), max(shared))
    assert {(load.pairs, load.repeats) for load in summary.workloads} == {(15, 2)}


@pytest.mark.parametrize(("raters_per_pair", "pairs_each"), [(None, 36), (2, 12)])
def test_with_three_systems_each_pair_of_them_is_balanced_by_itself(study, systems, raters_per_pair, pairs_each):
    answer(study, systems, 12)
    raters = clinicians(study, 6)
    draw_design(study, plan(systems, raters_per_pair=raters_per_pair))
    pair = ("comparison__response_a__system", "comparison__response_b__system")
    for rater in raters:
        drawn = list(rater.assignments.values_list(*pair, "a_on_left"))
        assert len(drawn) == pairs_each
        given = Counter((first, second) for first, second, _ in drawn)
        left = Counter((first, second) for first, second, on_left in drawn if on_left)
        assert set(given.values()) == {pairs_each // 3}
        assert set(left.values()) == {pairs_each // 6}


def test_a_clinician_meets_every_prompt_once_before_any_comes_again_and_all_pairs_of_systems_in_turn(study, systems):
    answer(study, systems, 12)
    raters = clinicians(study, 3)
    draw_design(study, plan(systems, repeated_pairs=9, calibration=practice()))
    shown = ("comparison__response_a__prompt", "comparison__response_a__system", "comparison__response_b__system")
    sessions = [
        list(
            r.assignments.filter(presentation=1, comparison__calibration=False).order_by("position").values_list(*shown)
        )
        for r in raters
    ]
    for session in sessions:
        rounds = [session[start : start + 12] for start in (0, 12, 24)]
        assert len({prompt for prompt, *_ in rounds[0]}) == 12
        for one in rounds:
            assert [prompt for prompt, *_ in one] == [prompt for prompt, *_ in rounds[0]]
            assert set(Counter((first, second) for _, first, second in one).values()) == {4}
    assert len({tuple(session) for session in sessions}) == 3
    again = Assignment.objects.filter(presentation=2)
    assert set(Counter(again.values_list("rater", *shown[1:])).values()) == {3}


def test_until_it_opens_a_design_is_hidden_and_drawn_anew_for_whoever_is_there(study, systems):
    answer(study, systems[:2], 12)
    first = make_clinician(study)
    design = draw_design(study, plan(systems[:2], raters_per_pair=1))
    assert first.assignments.count() == 12
    assert not Assignment.objects.visible().exists()
    second = make_clinician(study)
    assert summarise_design(design).newcomers == [second.name]
    open_design(design)
    assert Assignment.objects.visible().count() == 12
    assert first.assignments.count() == second.assignments.count() == 6
    event = AuditEvent.objects.get(action="design.open")
    assert event.new == {"clinicians": [first.name, second.name]}


def test_a_clinician_who_comes_later_is_given_pairs_as_the_others_were(study, systems, capsys):
    answer(study, systems[:2], 12)
    early = make_clinician(study)
    design = draw_design(study, plan(systems[:2], repeated_pairs=3, calibration=practice()))
    open_design(design)
    before = session(early, design)
    late = make_clinician(study)
    call_command("assign_comparisons", study=study.slug, design="main")
    assert capsys.readouterr().out == "17 assignments made for design main\n"
    assert session(early, design) == before
    kinds = [(calibration, presentation) for _, calibration, presentation, _, _ in session(late, design)]
    assert Counter(kinds) == {(True, 1): 2, (False, 1): 12, (False, 2): 3}
    assert kinds[:2] == [(True, 1), (True, 1)]
    assert assign_design(design) == 0


def test_a_designs_pairs_are_given_out_by_its_own_rules_alone(study, systems):
    answer(study, systems[:2], 12)
    draw_design(study, plan(systems[:2], calibration=practice()))
    make_clinician(study)
    with pytest.raises(CommandError, match="no such comparison"):
        call_command("assign_comparisons", study=study.slug)


def test_practice_prompts_are_of_no_split_that_teaches_or_tests(study, systems):
    answer(study, systems[:2], 12)
    known = make_prompt(study, split=Split.TRAIN, risk=True)
    file = CALIBRATION.replace('prompt = "And now?"', f'question_id = "{known.key}"')
    design = draw_design(study, plan(systems[:2], calibration=parse_calibration(file, where="file.toml")))
    first, second = design.comparisons.filter(calibration=True).order_by("pk")
    assert first.response_a.system.kind == "human"
    assert (second.response_a.text, second.response_b.text) == ("Cheer up.", "Are you safe?")
    prompt = second.response_a.prompt
    assert (prompt.text, prompt.risk, prompt.split) == (known.text, True, Split.CALIBRATION)
    assert known.responses.count() == 0
    verdicts = {(r.criterion.key, r.winner, r.explanation) for r in first.reference_verdicts.all()}
    assert verdicts == {("empathy", "A", "It listens."), ("safety", "tie", "")}


def test_a_design_that_nobody_saw_can_be_discarded_and_leaves_its_prompts_free(study, systems):
    answer(study, systems[:2], 12)
    make_clinician(study)
    judge = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name="gpt")
    design = draw_design(study, plan(systems[:2], calibration=practice()))
    make_assignment(design.comparisons.filter(calibration=False).first(), judge)
    discard_design(design)
    assert not JudgingDesign.objects.exists()
    assert not Prompt.objects.filter(split=Split.CALIBRATION).exists()
    assert list(Assignment.objects.values_list("rater__name", flat=True)) == ["gpt"]
    assert set(Comparison.objects.values_list("design", "stratum")) == {(None, "")}
    assert AuditEvent.objects.filter(action="design.discard").exists()
    again = draw_design(study, plan(systems[:2]))
    Assignment.objects.filter(rater__kind=RaterKind.CLINICIAN).first().submit(
        dict.fromkeys(study.criteria.all(), "tie")
    )
    with pytest.raises(StudyError, match="have judged pairs"):
        discard_design(again)
    open_design(again)
    with pytest.raises(StudyError, match="is open"):
        discard_design(again)


def test_what_cannot_be_drawn_is_said_and_leaves_nothing_behind(study, systems):
    answer(study, systems[:2], 12)
    clinicians(study, 2)

    def refused(match, **asked):
        with pytest.raises(InputError, match=match):
            draw_design(study, plan(**{"systems": systems[:2], **asked}))

    refused("at least two systems", systems=systems[:1])
    refused("baseline modpo is none", baseline=systems[2])
    refused("13 prompts were asked for, and 12 test prompts", prompts=13)
    refused("0 test prompts", systems=systems)
    refused("choose at most 6", repeated_pairs=7)
    refused("choose at most 3", repeated_pairs=4, raters_per_pair=1)
    assert not JudgingDesign.objects.exists()
    assert not Comparison.objects.exists()
    draw_design(study, plan(systems[:2], prompts=6))
    refused("has a design main already", prompts=6)


def test_a_design_opens_only_when_it_is_ready(study, systems):
    answer(study, systems[:2], 12)
    lacking = CALIBRATION.replace(', safety = { winner = "tie" }', "")
    design = draw_design(study, plan(systems[:2], calibration=parse_calibration(lacking, where="f"), raters_per_pair=2))
    with pytest.raises(StudyError, match="pair 1 of design main has no reference verdict on Safety"):
        open_design(design)
    discard_design(design)
    design = draw_design(study, plan(systems[:2], raters_per_pair=2))
    with pytest.raises(StudyError, match="no clinician"):
        open_design(design)
    make_clinician(study)
    with pytest.raises(InputError, match="choose 1 to 1"):
        open_design(design)
    assert not JudgingDesign.objects.filter(opened_at__isnull=False).exists()
    make_clinician(study)
    open_design(design)
    with pytest.raises(StudyError, match="open already"):
        open_design(design)


def test_a_locked_study_takes_no_design(study, systems):
    answer(study, systems[:2], 12)
    make_clinician(study)
    design = draw_design(study, plan(systems[:2], prompts=6))
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    for act in (
        lambda: draw_design(study, plan(systems[:2], name="other", prompts=6)),
        lambda: open_design(design),
        lambda: discard_design(design),
        lambda: assign_design(design),
    ):
        with pytest.raises(StudyError, match="locked"):
            act()


def test_the_demonstrations_calibration_file_judges_on_all_that_its_study_judges():
    pairs = read_calibration(settings.BASE_DIR / "fixtures" / "demo" / "calibration.toml")
    judged = {criterion.key for criterion in read_criteria(["therapeutic", "evaluation"]) if criterion.judged}
    assert [pair.risk for pair in pairs] == [True, False, False]
    assert all(pair.verdicts.keys() == judged for pair in pairs)
    assert all(reference.explanation for pair in pairs for reference in pair.verdicts.values())


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pairs = ", "file.toml: not TOML"),
        ("", "file.toml: pairs is missing"),
        ('[[pairs]]\na = "x"\nb = "y"\nverdicts = {}', "pair 1: give either prompt"),
        ('[[pairs]]\nprompt = "p"\nb = "y"\nverdicts = {}', "pair 1: a is missing"),
        ('[[pairs]]\nprompt = "p"\na = "x"\nb = "y"\nverdicts = {}\nsystem = "z"', "unknown key 'system'"),
        (CALIBRATION.replace('"tie"', '"draw"'), r"pair 1, \[verdicts\], \[safety\]: winner 'draw' is unknown"),
    ],
)
def test_what_is_wrong_with_a_calibration_file_is_said_with_its_place(file, message):
    with pytest.raises(InputError, match=message):
        parse_calibration(file, where="file.toml")


def test_calibration_pairs_must_fit_the_study(study, systems):
    answer(study, systems[:2], 12)
    key = study.prompts.first().key
    for old, new, message in (
        ("safety = {", "humour = {", "nobody judges on 'humour'"),
        ('prompt = "And now?"', 'question_id = "nowhere"', "has no prompt 'nowhere'"),
        ('prompt = "And now?"', f'question_id = "{key}"', "kept for the real pairs"),
    ):
        pairs = parse_calibration(CALIBRATION.replace(old, new), where="file.toml")
        with pytest.raises(InputError, match=message):
            draw_design(study, plan(systems[:2], calibration=pairs))
    assert not System.objects.filter(name="calibration").exists()
    assert Response.objects.count() == 24
