import pytest
from django.utils import timezone

from annotation.models import Assignment, Choice, Comparison, Rater, RaterKind, StudyStatus
from evaluation.labels import judge_checks, labels_of, verdicts_of
from evaluation.models import Judge, JudgeKind
from tests.factories import make_assignment, make_clinician, make_comparison, make_prompt, make_study, make_system

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study(criteria=("safety",))


def make_judge(study, *, name="gpt", toy=False):
    rater = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name=name)
    Judge.objects.create(rater=rater, kind=JudgeKind.LLM, is_toy=toy)
    return rater


def comparisons_of(study, number):
    first, second = make_system(study, name="Base"), make_system(study, name="MODPO")
    return [make_comparison(make_prompt(study), first, second) for _ in range(number)]


def vote(comparison, rater, choice, *, a_on_left=True, presentation=1):
    assignment = make_assignment(comparison, rater, a_on_left=a_on_left, presentation=presentation)
    assignment.submit(dict.fromkeys(comparison.study.criteria.all(), choice))
    return assignment


def twice(comparison, judge, first, second):
    """A judge's look at a comparison, and the one with the sides swapped."""
    vote(comparison, judge, first)
    vote(comparison, judge, second, a_on_left=False, presentation=2)


def labels(study):
    return labels_of(verdicts_of(study))


def test_sides_are_turned_to_systems(study):
    (comparison,) = comparisons_of(study, 1)
    for choice, a_on_left in [
        (Choice.LEFT, True),
        (Choice.RIGHT, True),
        (Choice.LEFT, False),
        (Choice.RIGHT, False),
        (Choice.TIE, False),
    ]:
        vote(comparison, make_clinician(study), choice, a_on_left=a_on_left)
    frame = labels(study)
    assert list(frame["label"]) == ["A", "B", "B", "A", "tie"]
    assert set(frame["system_a"]) == {"Base"}
    assert set(frame["rater_kind"]) == {"human"}


def test_a_label_equals_the_winner_of_its_verdict(study):
    (comparison,) = comparisons_of(study, 1)
    for choice in (Choice.LEFT, Choice.TIE, Choice.RIGHT):
        for a_on_left in (True, False):
            rater = make_clinician(study)
            verdict = vote(comparison, rater, choice, a_on_left=a_on_left).verdicts.get()
            frame = labels(study)
            assert frame.loc[frame["rater"] == rater.name, "label"].item() == verdict.winner


def test_what_could_not_be_judged_practice_and_second_looks_are_left_out(study):
    judged, practice = comparisons_of(study, 2)
    clinician = make_clinician(study)
    vote(judged, clinician, Choice.LEFT)
    vote(judged, clinician, Choice.RIGHT, presentation=2)
    vote(judged, make_clinician(study), Choice.CANNOT)
    Comparison.objects.filter(pk=practice.pk).update(calibration=True)
    vote(practice, clinician, Choice.LEFT)
    frame = labels(study)
    assert [(row.item, row.label) for row in frame.itertuples()] == [(judged.pk, "A")]


def test_verdicts_not_submitted_and_those_of_people_who_withdrew_are_left_out(study):
    (comparison,) = comparisons_of(study, 1)
    kept, gone, pending = make_clinician(study), make_clinician(study), make_clinician(study)
    vote(comparison, kept, Choice.LEFT)
    vote(comparison, gone, Choice.LEFT)
    Rater.objects.filter(pk=gone.pk).update(withdrawn_at=timezone.now())
    make_assignment(comparison, pending).record(study.criteria.get(), Choice.LEFT)
    assert list(labels(study)["rater"]) == [kept.name]


def test_another_studys_verdicts_are_left_out(study):
    other = make_study(criteria=("safety",))
    vote(comparisons_of(other, 1)[0], make_clinician(other), Choice.LEFT)
    assert labels(study).empty


def test_a_judge_that_changes_its_mind_with_the_sides_counts_as_a_tie_and_needs_both_looks(study):
    judge = make_judge(study)
    same, flipped, leaning, tied, once = comparisons_of(study, 5)
    twice(same, judge, Choice.LEFT, Choice.RIGHT)
    twice(flipped, judge, Choice.LEFT, Choice.LEFT)
    twice(leaning, judge, Choice.LEFT, Choice.TIE)
    twice(tied, judge, Choice.TIE, Choice.TIE)
    vote(once, judge, Choice.RIGHT)
    assert list(labels(study)["label"]) == ["A", "tie", "tie", "tie"]
    check = judge_checks(verdicts_of(study))["gpt"]
    assert (check.swap_consistency.value, check.swap_consistency.n, check.inconsistent) == (0.5, 4, 2)
    # Left was chosen 3 times of 4 with A there, once of 2 with B there.
    assert (check.position_bias.value, check.position_bias.n) == (pytest.approx((3 / 4 + 1 / 2) / 2), 6)
    assert check.position_bias.low < check.position_bias.value < check.position_bias.high


def test_a_judge_without_a_second_look_has_no_swap_consistency_and_says_why(study):
    judge = make_judge(study)
    vote(comparisons_of(study, 1)[0], judge, Choice.TIE)
    check = judge_checks(verdicts_of(study))["gpt"]
    assert check.position_bias.reason.startswith("no verdict chose a side")
    assert check.swap_consistency.reason == "no verdict counts for it"


def test_simulated_people_and_toy_judges_stay_marked(study):
    (comparison,) = comparisons_of(study, 1)
    vote(comparison, make_clinician(study, simulated=True), Choice.LEFT)
    vote(comparison, make_clinician(study), Choice.LEFT)
    twice(comparison, make_judge(study, toy=True), Choice.LEFT, Choice.RIGHT)
    frame = labels(study)
    assert list(frame["simulated"]) == [True, False, False]
    assert list(frame["toy"]) == [False, False, True]
    assert list(frame["rater_kind"]) == ["human", "human", "judge"]


def test_three_queries_read_a_study_of_any_size(study, django_assert_num_queries):
    rater = make_clinician(study)
    for comparison in comparisons_of(study, 4):
        vote(comparison, rater, Choice.LEFT)
    with django_assert_num_queries(3):
        assert len(labels(study)) == 4


def test_a_locked_study_reads_as_an_open_one(study):
    vote(comparisons_of(study, 1)[0], make_clinician(study), Choice.LEFT)
    before = labels(study)
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    assert labels(study).equals(before)
    assert Assignment.objects.count() == 1


def test_a_study_without_verdicts_gives_an_empty_frame(study):
    assert labels(study).empty
    assert judge_checks(verdicts_of(study)) == {}
