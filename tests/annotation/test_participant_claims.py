"""Posts are claimed without anybody's lock: the database's constraints settle every race."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from annotation import participation
from annotation.models import ParticipantStatus, Prompt, RankingTask, Split
from tests.factories import make_participant, make_prompt, make_ranking, make_study


def at_once(action, arguments):
    """Call the action on each argument from a thread and a connection of its own, all let go together."""
    start = threading.Barrier(len(arguments))

    def run(argument):
        start.wait()
        try:
            action(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(arguments)) as pool:
        list(pool.map(run, arguments))


def age(task: RankingTask, hours: int) -> None:
    RankingTask.objects.filter(pk=task.pk).update(claimed_at=timezone.now() - timedelta(hours=hours))


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_never_exceed_the_raters_of_a_post_nor_get_one_twice():
    study = make_study(raters_per_task=3)
    for _ in range(5):
        make_prompt(study, responses=5)
    people = [make_participant(study) for _ in range(20)]
    at_once(participation.claim_task, people)
    tasks = RankingTask.objects.all()
    assert tasks.count() == 15
    assert {row["n"] for row in tasks.values("prompt").annotate(n=Count("pk"))} == {3}
    assert {row["n"] for row in tasks.values("rater").annotate(n=Count("pk"))} == {1}
    assert set(tasks.values_list("slot", flat=True)) == {0, 1, 2}


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_give_a_person_one_task():
    study = make_study()
    for _ in range(4):
        make_prompt(study, responses=5)
    at_once(participation.claim_task, [make_participant(study)] * 4)
    positions = list(RankingTask.objects.values_list("position", flat=True))
    assert sorted(positions) == list(range(1, len(positions) + 1))
    assert RankingTask.objects.values("prompt").distinct().count() == len(positions)


@pytest.mark.django_db
def test_the_post_with_fewest_claims_comes_first():
    study = make_study()
    busy, quiet = make_prompt(study, responses=5), make_prompt(study, responses=5)
    first = participation.claim_task(make_participant(study))
    second = participation.claim_task(make_participant(study))
    assert [first.prompt, second.prompt] == [busy, quiet]


@pytest.mark.django_db
def test_test_posts_and_posts_short_of_responses_are_not_ranked():
    study = make_study()
    make_prompt(study, responses=5, split=Split.TEST)
    make_prompt(study, responses=4)
    assert participation.claim_task(make_participant(study)) is None
    assert not participation.has_room(study)


@pytest.mark.django_db
def test_responses_and_their_order_are_drawn_from_the_seed_and_stored():
    study = make_study(responses_per_task=3)
    prompt = make_prompt(study, responses=8)
    person = make_participant(study)
    orders = []
    for _ in range(2):
        task = participation.claim_task(person)
        orders.append(list(task.task_responses.values_list("response_id", flat=True)))
        task.delete()
    others = [participation.claim_task(make_participant(study)) for _ in range(5)]
    drawn = {tuple(task.task_responses.values_list("response_id", flat=True)) for task in others}
    assert orders[0] == orders[1]
    assert len(orders[0]) == 3
    assert len(drawn) > 1
    assert set(orders[0]) <= set(prompt.responses.values_list("pk", flat=True))


@pytest.mark.django_db
def test_a_slot_left_for_a_day_goes_to_the_next_person_and_comes_back_if_free():
    study = make_study(raters_per_task=1)
    make_prompt(study, responses=5)
    gone, newcomer = make_participant(study), make_participant(study)
    task = participation.claim_task(gone)
    age(task, hours=23)
    assert participation.claim_task(newcomer) is None
    age(task, hours=25)
    assert participation.has_room(study)
    taken = participation.claim_task(newcomer)
    task.refresh_from_db()
    assert (task.slot, taken.slot) == (None, 0)
    assert not participation.reclaim(task, study)
    participation.skip(taken)
    assert participation.reclaim(task, study)
    task.refresh_from_db()
    assert task.slot == 0


@pytest.mark.django_db
@pytest.mark.parametrize("status", [ParticipantStatus.ACTIVE, ParticipantStatus.COMPLETE])
def test_finished_work_keeps_its_slot_for_good(status):
    study = make_study(raters_per_task=1)
    make_prompt(study, responses=5)
    person = make_participant(study)
    task = participation.claim_task(person)
    for criterion in study.criteria.all():
        make_ranking(task, criterion)
    person.status = status
    person.save()
    age(task, hours=999)
    assert participation.claim_task(make_participant(study)) is None


@pytest.mark.django_db
def test_a_skipped_post_keeps_nothing_and_is_not_offered_again():
    study = make_study()
    make_prompt(study, responses=5)
    person = make_participant(study)
    task = participation.claim_task(person)
    make_ranking(task, study.criteria.first())
    participation.skip(task)
    task.refresh_from_db()
    assert task.skipped_at
    assert task.slot is None
    assert not task.rankings.exists()
    assert participation.claim_task(person) is None


@pytest.mark.django_db
def test_claiming_takes_as_many_queries_whatever_the_number_of_posts(django_assert_max_num_queries):
    study = make_study(responses_per_task=2)
    for _ in range(40):
        make_prompt(study, responses=2)
    with django_assert_max_num_queries(12):
        participation.claim_task(make_participant(study))
    assert Prompt.objects.count() == 40
