"""The read-only API for researchers."""

import pytest

from tests.factories import make_participant, make_prompt, make_ranking, make_study, make_task

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    study = make_study(slug="calm")
    for _ in range(2):
        task = make_task(make_participant(study, simulated=True).rater, make_prompt(study, responses=3))
        for criterion in study.criteria.all():
            make_ranking(task, criterion, list(task.responses.order_by("-pk")))
    return study


def test_staff_read_rankings_best_first_and_see_who_is_simulated(admin_client, study):
    rows = admin_client.get("/api/studies/calm/rankings/?criterion=empathy").json()
    assert rows["count"] == 2
    first = rows["results"][0]
    assert first["criterion"] == "empathy"
    assert first["simulated"] is True
    assert [key.split("-")[-1] for key in first["order"]] == ["3", "2", "1"]


def test_rankings_of_withdrawn_raters_are_gone(admin_client, study):
    study.raters.first().withdraw()
    assert admin_client.get("/api/studies/calm/rankings/").json()["count"] == 2


def test_strangers_are_refused(client, study, django_user_model):
    assert client.get("/api/studies/").status_code == 403
    client.force_login(django_user_model.objects.create_user("someone"))
    for address in ("/api/studies/", "/api/studies/calm/prompts/", "/api/studies/calm/rankings/"):
        assert client.get(address).status_code == 403


def test_nothing_can_be_written(admin_client, study):
    assert admin_client.post("/api/studies/", {}).status_code == 405
    assert admin_client.delete("/api/studies/calm/").status_code == 405


def test_queries_do_not_grow_with_rows(admin_client, study, django_assert_max_num_queries):
    for address in ("/api/studies/", "/api/studies/calm/prompts/", "/api/studies/calm/rankings/"):
        with django_assert_max_num_queries(8):
            assert admin_client.get(address).status_code == 200
    for _ in range(6):
        make_task(make_participant(study).rater, make_prompt(study, responses=3))
    for address in ("/api/studies/", "/api/studies/calm/prompts/", "/api/studies/calm/rankings/"):
        with django_assert_max_num_queries(8):
            assert admin_client.get(address).status_code == 200
