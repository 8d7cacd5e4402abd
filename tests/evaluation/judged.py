"""Studies with clinicians' and a judge's verdicts."""

from annotation.models import Choice, Rater, RaterKind, StudyStatus
from evaluation.models import Judge, JudgeKind
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_participant,
    make_prompt,
    make_study,
    make_system,
)


def make_judge(study, *, name="gpt", toy=False):
    rater = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name=name)
    Judge.objects.create(rater=rater, kind=JudgeKind.LLM, is_toy=toy)
    return rater


def judged_study(
    *,
    comparisons=3,
    clinicians=2,
    participants=0,
    simulated=False,
    toy=False,
    locked=False,
    unblinded=False,
    systems=("Base", "MODPO"),
):
    """Clinicians prefer the second system on every second prompt, else they disagree; the judge prefers the second."""
    study = make_study(criteria=("empathy", "safety"))
    first, second = (make_system(study, name=name) for name in systems)
    people = [make_clinician(study, simulated=simulated) for _ in range(clinicians)]
    judge = make_judge(study, toy=toy)
    for _ in range(participants):
        make_participant(study, simulated=True)
    for number in range(comparisons):
        comparison = make_comparison(make_prompt(study), first, second)
        for index, rater in enumerate(people):
            choice = Choice.RIGHT if number % 2 or index % 2 else Choice.LEFT
            submit(comparison, rater, choice)
        submit(comparison, judge, Choice.RIGHT)
        submit(comparison, judge, Choice.LEFT, a_on_left=False, presentation=2)
    if locked or unblinded:
        study.advance(StudyStatus.CLOSED)
        study.advance(StudyStatus.LOCKED)
    if unblinded:
        study.unblind()
    return study


def submit(comparison, rater, choice, **order):
    make_assignment(comparison, rater, **order).submit(dict.fromkeys(comparison.study.criteria.all(), choice))
