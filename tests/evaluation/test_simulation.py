import io
from collections import Counter

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from annotation.designs import DesignPlan, draw_design
from annotation.models import Assignment, Rater, RaterKind, Split, StudyStatus, Verdict
from evaluation.simulation import (
    choose,
    draw_temperament,
    fit_quality_scorer,
    fit_scorers,
    mean_rank_scores,
    score_responses,
)
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_participant,
    make_prompt,
    make_ranking,
    make_response,
    make_study,
    make_system,
    make_task,
)

WARM = [
    "That sounds so heavy. I hear how alone you feel.",
    "I am glad you wrote. It makes sense that you feel worn out.",
    "What you carry sounds heavy, and I hear how much it hurts.",
    "It makes sense that you feel alone. I am glad you told me.",
]
COLD = [
    "Other people have real problems. Stop complaining.",
    "Just cheer up and go for a run. It is not that bad.",
    "Stop thinking about it. Other people cope.",
    "It is not that bad. Just get over it and cheer up.",
]


@pytest.fixture
def study():
    return studied()


def studied():
    """Scorer prompts ranked warm before cold, and eight test prompts where Aligned is warm and Base is cold."""
    study = make_study(criteria=("empathy", "safety", "overall_preference"))
    writer = make_system(study, name="Writer")
    for warm, cold in zip(WARM, COLD, strict=True):
        prompt = make_prompt(study, split=Split.SCORER)
        order = [make_response(prompt, writer, number=n, text=text) for n, text in enumerate([warm, cold], start=1)]
        task = make_task(make_participant(study, simulated=True).rater, prompt)
        for criterion in study.criteria.filter(ranked=True):
            make_ranking(task, criterion, order)
    base, aligned = make_system(study, name="Base"), make_system(study, name="Aligned")
    for number in range(8):
        prompt = make_prompt(study, key=f"test-{number}", split=Split.TEST)
        make_response(prompt, base, text=f"{COLD[number % 4]} {COLD[(number + 1) % 4]}")
        make_response(prompt, aligned, text=f"{WARM[number % 4]} {WARM[(number + 1) % 4]}")
    return study


def simulate(study, *options):
    out = io.StringIO()
    call_command(
        "simulate_clinicians",
        *("--study", study.slug, "--systems", "Base", "Aligned", *options),
        stdout=out,
        stderr=io.StringIO(),
    )
    return out.getvalue()


@pytest.mark.django_db
def test_clinicians_of_a_design_judge_what_it_gives_them_and_some_of_it_twice(study):
    systems = [study.systems.get(name=name) for name in ("Base", "Aligned")]
    design = draw_design(study, DesignPlan(name="main", systems=systems, prompts=8, repeated_pairs=4))
    said = io.StringIO()
    options = {"study": study.slug, "design": "main", "raters": 6, "stdout": said, "stderr": io.StringIO()}
    call_command("simulate_clinicians", **options)
    assert said.getvalue() == "6 simulated clinicians judged 72 presentations of 8 comparisons\n"
    design.refresh_from_db()
    assert design.opened_at
    looks = {
        (v.assignment.rater_id, v.assignment.comparison_id, v.criterion_id, v.assignment.presentation): v.winner
        for v in Verdict.objects.select_related("assignment")
    }
    same = [looks[(*look, 1)] == looks[(*look, 2)] for *look, presentation in looks if presentation == 2]
    assert len(same) == 72
    assert len(same) / 2 < sum(same) < len(same)
    call_command("simulate_clinicians", **options)
    assert said.getvalue().splitlines()[1] == "6 simulated clinicians judged 0 presentations of 8 comparisons"


def test_a_scorer_prefers_texts_like_those_that_ranked_well():
    scorer = fit_quality_scorer(WARM[:3] + COLD[:3], [1, 1, 1, -1, -1, -1])
    warm, cold = scorer([WARM[3], COLD[3]])
    assert warm > cold + 0.5


def test_a_scorer_of_texts_that_all_scored_alike_finds_all_alike():
    assert np.ptp(fit_quality_scorer(WARM, [0.5] * 4)(COLD)) == pytest.approx(0)


@pytest.mark.django_db
def test_quality_is_read_against_the_responses_that_are_judged():
    study = make_study()
    systems, clinician = (make_system(study), make_system(study)), make_clinician(study, simulated=True)
    assignments = [
        make_assignment(make_comparison(make_prompt(study, key="p" * number), *systems), clinician)
        for number in (1, 4, 9)
    ]
    scorers = {"one": lambda texts: np.array([len(text) for text in texts]), "flat": lambda texts: np.ones(len(texts))}
    quality = np.array(list(score_responses(assignments, scorers).values()))
    assert quality.mean(axis=0) == pytest.approx(0)
    assert quality.std(axis=0) == pytest.approx([1, 0])


@pytest.mark.parametrize(("texts", "scores"), [([], []), (["one"], [1.0]), (["one", "two"], [1.0])])
def test_a_scorer_needs_two_texts_and_a_score_each(texts, scores):
    with pytest.raises(ValueError, match="two texts or more and a score each"):
        fit_quality_scorer(texts, scores)


def test_temperaments_differ_by_clinician_and_stay_with_the_seed():
    drawn = {draw_temperament(3, number) for number in range(1, 7)}
    assert len(drawn) == 6
    assert draw_temperament(3, 1) in drawn
    assert draw_temperament(4, 1) not in drawn


def test_a_small_difference_is_a_tie():
    assert [choose(d, 0.2) for d in (0.3, 0.2, -0.2, -0.3)] == ["left", "tie", "tie", "right"]


@pytest.mark.django_db
def test_better_texts_win_more_often_and_the_clinicians_are_labelled_simulated(study):
    said = simulate(study)
    assert "4 simulated clinicians judged 32 presentations of 8 comparisons" in said
    raters = Rater.objects.filter(kind=RaterKind.CLINICIAN)
    assert {(rater.name, rater.simulated, rater.user) for rater in raters} == {
        (f"Sim-C{number}", True, None) for number in range(1, 5)
    }
    for criterion in study.criteria.all():
        winners = Counter(verdict.winner for verdict in Verdict.objects.filter(criterion=criterion))
        assert winners.total() == 32
        assert winners["B"] > 3 * winners["A"]
    assert not Assignment.objects.pending().exists()


@pytest.mark.django_db
def test_the_sides_are_balanced_for_each_clinician(study):
    simulate(study)
    for rater in Rater.objects.filter(kind=RaterKind.CLINICIAN):
        assert abs(rater.assignments.filter(a_on_left=True).count() - 4) <= 1


@pytest.mark.django_db
def test_a_second_run_changes_nothing_and_a_later_clinician_is_filled_in(study):
    simulate(study, "--raters", "2")
    before = list(Verdict.objects.order_by("pk").values_list("assignment", "criterion", "choice"))
    assert "judged 0 presentations" in simulate(study, "--raters", "2")
    assert list(Verdict.objects.order_by("pk").values_list("assignment", "criterion", "choice")) == before
    assert "judged 8 presentations" in simulate(study, "--raters", "3")


@pytest.mark.django_db
def test_clinicians_disagree_now_and_then(study):
    simulate(study)
    assert len(set(map(tuple, opinions_in(study).values()))) > 1


@pytest.mark.django_db
def test_the_same_study_has_the_same_opinions_whatever_its_ids(study):
    simulate(study)
    again = studied()
    simulate(again)
    assert opinions_in(again) == opinions_in(study)


def opinions_in(study):
    order = "assignment__comparison__response_a__prompt__key", "criterion__position"
    return {
        rater.name: [v.winner for v in Verdict.objects.filter(assignment__rater=rater).order_by(*order)]
        for rater in study.raters.filter(kind=RaterKind.CLINICIAN)
    }


@pytest.mark.django_db
def test_only_rankings_of_scorer_prompts_by_raters_who_stayed_teach(study):
    empathy = study.criteria.get(key="empathy")
    assert mean_rank_scores(empathy) == dict.fromkeys(WARM, 1.0) | dict.fromkeys(COLD, -1.0)
    train = make_prompt(study, responses=2, split=Split.TRAIN)
    make_ranking(make_task(make_participant(study).rater, train), empathy)
    leaver = make_participant(study).rater
    make_ranking(make_task(leaver, make_prompt(study, responses=2, split=Split.SCORER)), empathy)
    leaver.withdraw()
    assert len(mean_rank_scores(empathy)) == 8
    assert [criterion.key for criterion in fit_scorers(study)] == ["empathy", "safety"]


@pytest.mark.django_db
def test_without_rankings_of_scorer_prompts_nobody_is_simulated():
    study = make_study()
    make_comparison(make_prompt(study, split=Split.TEST), make_system(study), make_system(study))
    with pytest.raises(CommandError, match="nobody has ranked responses to scorer prompts on Empathy"):
        call_command("simulate_clinicians", study=study.slug)
    assert not Rater.objects.exists()


@pytest.mark.django_db
def test_a_person_is_not_taken_for_a_simulated_clinician(study):
    Rater.objects.create(study=study, kind=RaterKind.CLINICIAN, name="Sim-C2")
    with pytest.raises(CommandError, match=r"Sim-C2 .* is no active simulated clinician"):
        simulate(study)
    assert Rater.objects.filter(kind=RaterKind.CLINICIAN).count() == 1
    assert not Assignment.objects.exists()


@pytest.mark.django_db
def test_a_locked_study_takes_no_simulated_verdict(study):
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    with pytest.raises(CommandError, match="no comparisons yet"):
        simulate(study)
