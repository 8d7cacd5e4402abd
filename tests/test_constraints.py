"""Each rule that must always hold is broken here in the database itself."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotation.errors import StudyError
from annotation.models import (
    AuditEvent,
    Choice,
    RankedResponse,
    RankingTask,
    Rater,
    RaterKind,
    Study,
    StudyStatus,
    Verdict,
)
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_participant,
    make_prompt,
    make_ranking,
    make_study,
    make_system,
    make_task,
)

pytestmark = pytest.mark.django_db


def refused():
    return pytest.raises(IntegrityError)


@pytest.fixture
def ranking():
    study = make_study()
    task = make_task(make_participant(study).rater, make_prompt(study, responses=3))
    return make_ranking(task, study.criteria.first())


def test_a_rank_is_given_once_a_ranking(ranking):
    with refused(), transaction.atomic():
        RankedResponse.objects.filter(ranking=ranking, rank=1).update(rank=2)


def test_a_rank_lies_within_the_number_of_responses(ranking):
    for rank in (0, 4):
        with refused(), transaction.atomic():
            RankedResponse.objects.filter(ranking=ranking, rank=1).update(rank=rank)


def test_a_response_stands_once_in_a_ranking(ranking):
    first, second = ranking.ranked_responses.all()[:2]
    with refused(), transaction.atomic():
        RankedResponse.objects.filter(pk=second.pk).update(response=first.response)


def test_submit_refuses_what_is_no_permutation_and_keeps_what_was(ranking):
    order = [row.response for row in ranking.ranked_responses.all()]
    for wrong in (order[:2], [order[0], order[0], order[1]], [*order, order[0]]):
        with pytest.raises(StudyError, match="its own rank"):
            ranking.submit(wrong)
    assert [row.response for row in ranking.ranked_responses.all()] == order


def test_submit_is_refused_while_the_study_is_not_open(ranking):
    study = ranking.criterion.study
    study.advance(StudyStatus.CLOSED)
    ranking.refresh_from_db()
    with pytest.raises(StudyError, match="is closed"):
        ranking.submit(list(ranking.task.responses.all()))


def test_a_prompts_slot_is_claimed_once():
    study = make_study()
    prompt = make_prompt(study, responses=2)
    make_task(make_participant(study).rater, prompt)
    with refused(), transaction.atomic():
        RankingTask.objects.create(rater=make_participant(study).rater, prompt=prompt, slot=0, position=1)


def test_a_rater_meets_a_prompt_once():
    study = make_study()
    prompt, rater = make_prompt(study, responses=2), make_participant(study).rater
    make_task(rater, prompt)
    with refused(), transaction.atomic():
        RankingTask.objects.create(rater=rater, prompt=prompt, slot=1, position=2)


def test_only_a_clinician_has_a_login(django_user_model):
    user = django_user_model.objects.create_user("someone")
    with refused(), transaction.atomic():
        Rater.objects.create(study=make_study(), kind=RaterKind.PARTICIPANT, name="P", user=user)


@pytest.fixture
def assignment():
    study = make_study()
    comparison = make_comparison(make_prompt(study), make_system(study), make_system(study))
    return make_assignment(comparison, make_clinician(study), a_on_left=False)


def test_a_rater_gets_a_comparison_once_a_presentation(assignment):
    with refused(), transaction.atomic():
        make_assignment(assignment.comparison, assignment.rater)
    make_assignment(assignment.comparison, assignment.rater, presentation=2)


def test_a_verdict_is_left_tie_or_right(assignment):
    criterion = assignment.comparison.study.criteria.first()
    with refused(), transaction.atomic():
        Verdict.objects.create(assignment=assignment, criterion=criterion, choice="both")


def test_verdicts_turn_to_system_order(assignment):
    empathy, safety = assignment.comparison.study.criteria.all()
    assignment.submit({empathy: Choice.LEFT, safety: Choice.TIE})
    winners = {verdict.criterion: verdict.winner for verdict in assignment.verdicts.all()}
    assert winners == {empathy: "B", safety: "tie"}
    assert assignment.left == assignment.comparison.response_b


def test_verdicts_are_submitted_once_and_complete(assignment):
    empathy, safety = assignment.comparison.study.criteria.all()
    with pytest.raises(StudyError, match="Safety"):
        assignment.submit({empathy: Choice.LEFT})
    assert not assignment.verdicts.exists()
    assignment.submit({empathy: Choice.LEFT, safety: Choice.TIE})
    with pytest.raises(StudyError, match="already"):
        assignment.submit({empathy: Choice.RIGHT, safety: Choice.TIE})
    assert assignment.verdicts.get(criterion=empathy).choice == Choice.LEFT


def test_a_locked_study_takes_no_verdict(assignment):
    study = assignment.comparison.study
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    with pytest.raises(StudyError, match="locked"):
        assignment.record(study.criteria.first(), Choice.TIE)


def test_a_study_moves_one_step_at_a_time_and_leaves_a_trail():
    study = make_study(status=StudyStatus.DRAFT)
    with pytest.raises(StudyError, match="it can only become open now, not locked"):
        study.advance(StudyStatus.LOCKED)
    study.advance(StudyStatus.OPEN)
    assert list(AuditEvent.objects.values_list("action", flat=True)) == ["study.open"]
    with refused(), transaction.atomic():
        Study.objects.filter(pk=study.pk).update(status="locked")
    with refused(), transaction.atomic():
        Study.objects.filter(pk=study.pk).update(locked_at=timezone.now())


def test_the_audit_trail_is_append_only():
    make_study(status=StudyStatus.DRAFT).advance(StudyStatus.OPEN)
    with pytest.raises(StudyError):
        AuditEvent.objects.all().delete()
    with pytest.raises(StudyError):
        AuditEvent.objects.update(action="nothing")


def test_withdrawal_deletes_what_the_rater_gave(ranking):
    rater = ranking.task.rater
    rater.withdraw()
    assert rater.withdrawn_at
    assert not RankingTask.objects.filter(rater=rater).exists()
    assert not Rater.objects.active().filter(pk=rater.pk).exists()
