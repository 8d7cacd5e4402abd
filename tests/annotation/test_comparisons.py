import numpy as np
import pytest
from django.core.management import CommandError, call_command

from annotation.comparisons import assign_comparisons, create_comparisons
from annotation.errors import InputError, StudyError
from annotation.models import Assignment, Comparison, Split, StudyStatus
from annotation.sampling import draw_sample
from tests.factories import make_clinician, make_prompt, make_response, make_study, make_system

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study()


@pytest.fixture
def systems(study):
    return make_system(study, name="base"), make_system(study, name="modpo")


def answered(study, systems, *, number, split=Split.TEST):
    prompts = [make_prompt(study, split=split) for _ in range(number)]
    for prompt in prompts:
        for system in systems:
            make_response(prompt, system)
    return prompts


def sides(raters):
    return {
        (a.rater_id, a.comparison_id): (a.position, a.a_on_left) for a in Assignment.objects.filter(rater__in=raters)
    }


def test_a_comparison_holds_the_lower_systems_response_first_whichever_is_named_first(study, systems):
    answered(study, systems, number=3)
    comparisons = create_comparisons(study, systems[1], systems[0])
    assert {c.response_a.system.name for c in comparisons} == {"base"}
    assert all(c.response_a.prompt == c.response_b.prompt for c in comparisons)
    assert create_comparisons(study, *systems) == comparisons
    assert Comparison.objects.count() == 3


def test_only_prompts_of_the_split_that_both_answered_are_compared(study, systems):
    answered(study, systems, number=2)
    answered(study, systems, number=1, split=Split.TRAIN)
    make_response(make_prompt(study, split=Split.TEST), systems[0])
    make_response(make_prompt(study, split=Split.TEST), systems[1], number=2)
    assert len(create_comparisons(study, *systems)) == 2
    assert len(create_comparisons(study, *systems, split=Split.TRAIN)) == 1


def test_what_cannot_be_compared_is_said(study, systems):
    with pytest.raises(InputError, match="itself"):
        create_comparisons(study, systems[0], systems[0])
    with pytest.raises(InputError, match="does not belong"):
        create_comparisons(study, systems[0], make_system(make_study()))
    make_response(make_prompt(study, split=Split.TEST), systems[0])
    with pytest.raises(InputError, match=r"base \(1 answered\) and modpo \(0 answered\)"):
        create_comparisons(study, systems[1], systems[0])


def test_every_clinician_gets_every_comparison_once_in_a_balanced_order(study, systems):
    answered(study, systems, number=9)
    raters = [make_clinician(study) for _ in range(4)]
    comparisons = create_comparisons(study, *systems)
    assert assign_comparisons(study, comparisons, raters, per_item=None, seed=1) == 36
    for rater in raters:
        given = list(rater.assignments.all())
        assert [a.position for a in given] == list(range(1, 10))
        assert sum(a.a_on_left for a in given) in (4, 5)
    for comparison in comparisons:
        assert comparison.assignments.filter(a_on_left=True).count() == 2
    assert len({tuple(r.assignments.values_list("comparison", flat=True)) for r in raters}) == 4


def test_a_second_call_keeps_what_was_drawn_and_gives_the_late_comer_an_order_of_their_own(study, systems):
    answered(study, systems, number=20)
    comparisons = create_comparisons(study, *systems)
    early, late = make_clinician(study), make_clinician(study)
    assign_comparisons(study, comparisons, [early], per_item=None, seed=1)
    before = sides([early])
    assert assign_comparisons(study, comparisons, [early], per_item=None, seed=1) == 0
    assert assign_comparisons(study, comparisons, [early, late], per_item=None, seed=1) == 20
    assert sides([early]) == before
    assert [value for _, value in sorted(sides([late]).items())] != [value for _, value in sorted(before.items())]


def test_later_comparisons_follow_after_the_earlier_ones(study, systems):
    rater = make_clinician(study)
    answered(study, systems, number=2)
    assign_comparisons(study, create_comparisons(study, *systems), [rater], per_item=None, seed=1)
    answered(study, systems, number=3)
    assert assign_comparisons(study, create_comparisons(study, *systems), [rater], per_item=None, seed=1) == 3
    assert list(rater.assignments.values_list("position", flat=True)) == [1, 2, 3, 4, 5]


def test_k_clinicians_a_comparison_and_never_more(study, systems):
    answered(study, systems, number=12)
    raters = [make_clinician(study) for _ in range(4)]
    comparisons = create_comparisons(study, *systems)
    assert assign_comparisons(study, comparisons, raters, per_item=2, seed=1) == 24
    assert {c.assignments.count() for c in comparisons} == {2}
    assert {c.assignments.filter(a_on_left=True).count() for c in comparisons} == {1}
    assert {r.assignments.count() for r in raters} == {6}
    assert assign_comparisons(study, comparisons, [*raters, make_clinician(study)], per_item=2, seed=1) == 0


def test_assigning_is_refused_with_nobody_with_strangers_and_in_a_locked_study(study, systems):
    answered(study, systems, number=1)
    comparisons = create_comparisons(study, *systems)
    with pytest.raises(InputError, match="nobody"):
        assign_comparisons(study, comparisons, [], per_item=None, seed=1)
    with pytest.raises(InputError, match="not belong"):
        assign_comparisons(study, comparisons, [make_clinician(make_study())], per_item=None, seed=1)
    rater = make_clinician(study)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(StudyError, match="locked"):
        assign_comparisons(study, comparisons, [rater], per_item=None, seed=1)
    with pytest.raises(StudyError, match="locked"):
        create_comparisons(study, *systems)


def test_the_commands_create_and_assign(study, systems, capsys):
    answered(study, systems, number=4)
    make_clinician(study)
    make_clinician(study)
    call_command("create_comparisons", study=study.slug, systems=["base", "modpo"])
    call_command("create_comparisons", study=study.slug, systems=["modpo", "base"])
    call_command("assign_comparisons", study=study.slug, per_comparison=1)
    call_command("assign_comparisons", study=study.slug, systems=["base", "modpo"], sample=3)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "4 comparisons of base and modpo, 4 of them new"
    assert out[1] == "4 comparisons of modpo and base, 0 of them new"
    assert out[2] == "4 assignments made: 4 comparisons, 2 clinicians"
    assert out[3] == "3 assignments made: 3 comparisons, 2 clinicians"


def test_the_commands_say_what_is_missing(study, systems):
    def refused(match, command, **options):
        with pytest.raises(CommandError, match=match):
            call_command(command, **options)

    refused("no such study", "create_comparisons", study="nowhere", systems=["base", "modpo"])
    refused(r"no system 'gpt' \(it has: base, modpo\)", "create_comparisons", study=study.slug, systems=["base", "gpt"])
    refused("no test prompt", "create_comparisons", study=study.slug, systems=["base", "modpo"])
    refused("no clinician", "assign_comparisons", study=study.slug)
    make_clinician(study)
    refused("run create_comparisons", "assign_comparisons", study=study.slug)
    answered(study, systems, number=2)
    create_comparisons(study, *systems)
    refused("choose 1 to 1", "assign_comparisons", study=study.slug, per_comparison=2)
    refused("--sample 3: choose 1 to 2", "assign_comparisons", study=study.slug, sample=3)
    assert not Assignment.objects.exists()


def test_no_draw_takes_the_stream_of_another(study, systems, monkeypatch):
    answered(study, systems, number=12)
    first_numbers = []
    drawn = np.random.default_rng

    def noted(seed):
        first_numbers.append(drawn(seed).random())
        return drawn(seed)

    monkeypatch.setattr(np.random, "default_rng", noted)
    comparisons = create_comparisons(study, *systems)
    draw_sample(["risk"] * 12, 6, 42)
    raters = [make_clinician(study) for _ in range(3)]
    assign_comparisons(study, comparisons[2:], raters, per_item=2, seed=42, practice=comparisons[:2], repeats=2)
    assert len(first_numbers) > 8
    assert len(set(first_numbers)) == len(first_numbers)
