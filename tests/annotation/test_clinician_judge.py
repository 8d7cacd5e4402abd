import re
from datetime import timedelta

import pytest
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from annotation.models import Assignment, Choice, StudyStatus, Verdict
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
COMPLETE = {"criterion-empathy": "left", "criterion-safety": "tie"}


def make_pairs(rater, number):
    systems = make_system(rater.study), make_system(rater.study)
    return [make_assignment(make_comparison(make_prompt(rater.study), *systems), rater) for _ in range(number)]


def address(position=1, name="judge"):
    return reverse(f"annotation:{name}", args=["care", position])


def lock(study):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)


def test_the_page_shows_prompt_responses_and_criteria_and_writes_nothing(signed_in, rater):
    (pair, _) = make_pairs(rater, 2)
    page = signed_in.get(address())
    html = page.content.decode()
    assert page.status_code == 200
    assert html.index(pair.comparison.response_a.text) < html.index(pair.comparison.response_b.text)
    assert "0 of 2 done" in html
    assert html.count('type="radio"') == 8
    assert "no-store" in page["Cache-Control"]
    pair.refresh_from_db()
    assert pair.opened_at is None


def test_complete_verdicts_are_submitted_and_lead_on(signed_in, rater):
    (pair, _) = make_pairs(rater, 2)
    response = signed_in.post(address(), COMPLETE)
    assert response.status_code == 302
    assert response.url == reverse("annotation:next-comparison", args=["care"])
    pair.refresh_from_db()
    assert pair.submitted_at
    assert set(pair.verdicts.values_list("criterion__key", "choice")) == {("empathy", "left"), ("safety", "tie")}
    assert signed_in.get(response.url).url == address(2)


def test_htmx_is_sent_on_to_a_whole_page(signed_in, rater):
    make_pairs(rater, 1)
    response = signed_in.post(address(), COMPLETE, headers={"HX-Request": "true"})
    assert response["HX-Redirect"] == reverse("annotation:next-comparison", args=["care"])


def test_the_time_is_counted_from_the_page_on_which_the_first_verdict_was_given(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    salt = f"annotation.assignment.{pair.pk}"
    first = timezone.now() - timedelta(minutes=2)
    signed_in.post(
        address(name="verdict"),
        {"criterion-empathy": "left", "shown": signing.dumps(first.timestamp(), salt=salt)},
    )
    signed_in.post(address(), {**COMPLETE, "shown": signing.dumps(timezone.now().timestamp(), salt=salt)})
    pair.refresh_from_db()
    assert pair.opened_at == first
    assert 120 <= pair.seconds < 150


def test_a_forged_time_counts_as_none(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(), {**COMPLETE, "shown": "0:forged"})
    pair.refresh_from_db()
    assert 0 <= pair.seconds < 5


def test_incomplete_verdicts_are_named_and_what_was_chosen_stays(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    page = signed_in.post(address(), {"criterion-empathy": "right"})
    html = page.content.decode()
    assert page.status_code == 422
    assert "Please choose A, tie, B or cannot judge for Safety." in html
    assert re.search(r'name="criterion-empathy" value="right"[^>]* checked', html)
    assert html.startswith("<!doctype html>")
    assert not Verdict.objects.filter(assignment=pair).exists()


def test_an_empty_form_names_every_criterion(signed_in, rater):
    make_pairs(rater, 1)
    assert "Please choose A, tie, B or cannot judge for Empathy and Safety." in signed_in.post(address()).content.decode()


def test_a_choice_there_is_not_is_refused(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    nonsense = {"criterion-empathy": "both", "criterion-safety": "A"}
    assert signed_in.post(address(), nonsense).status_code == 422
    unsaved = signed_in.post(address(name="verdict"), nonsense)
    assert unsaved.status_code == 422
    assert "Not saved. Reload the page" in unsaved.content.decode()
    assert not pair.verdicts.exists()


def test_htmx_gets_the_form_alone(signed_in, rater):
    make_pairs(rater, 1)
    fragment = signed_in.post(address(), {}, headers={"HX-Request": "true"})
    assert fragment.status_code == 422
    assert fragment.content.decode().strip().startswith('<form id="verdicts"')
    assert "HX-Request" in fragment["Vary"]


def test_a_verdict_is_kept_as_it_is_chosen_and_restored(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    saved = signed_in.post(address(name="verdict"), {"criterion-safety": "right"}, headers={"HX-Request": "true"})
    assert saved.content.decode().strip() == '<p id="saved" class="quiet" role="status">Saved, 1 of 2</p>'
    signed_in.post(address(name="verdict"), {"criterion-safety": "tie"})
    assert list(pair.verdicts.values_list("choice", flat=True)) == ["tie"]
    html = signed_in.get(address()).content.decode()
    assert re.findall(r'name="([^"]+)" value="([^"]+)"[^>]* checked', html) == [("criterion-safety", "tie")]


def test_a_submitted_pair_can_be_read_and_no_longer_changed(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(), COMPLETE)
    html = signed_in.get(address()).content.decode()
    assert "You submitted this pair" in html
    assert html.count(" disabled") == 8
    assert 'type="submit">Submit' not in html
    changed = {"criterion-empathy": "right", "criterion-safety": "right"}
    assert signed_in.post(address(), changed).status_code == 422
    late = signed_in.post(address(name="verdict"), changed)
    assert late.status_code == 422
    assert "already submitted" in late.content.decode()
    assert set(pair.verdicts.values_list("choice", flat=True)) == {"left", "tie"}


def test_a_locked_study_shows_neither_pairs_nor_takes_verdicts(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    lock(rater.study)
    for page in (signed_in.get(address()), signed_in.post(address(), COMPLETE)):
        assert "This study is locked" in page.content.decode()
        assert pair.comparison.response_a.text not in page.content.decode()
    late = signed_in.post(address(name="verdict"), COMPLETE)
    assert late.status_code == 422
    assert "is locked" in late.content.decode()
    pair.refresh_from_db()
    assert pair.submitted_at is None
    assert not pair.verdicts.exists()


def test_a_lock_that_comes_between_is_said(signed_in, rater, monkeypatch):
    make_pairs(rater, 1)
    submit = Assignment.submit

    def race(self, choices):
        lock(rater.study)
        submit(self, choices)

    monkeypatch.setattr(Assignment, "submit", race)
    page = signed_in.post(address(), COMPLETE)
    assert page.status_code == 422
    assert "is locked" in page.content.decode()
    assert not Verdict.objects.exists()


@pytest.mark.parametrize("name", ["judge", "verdict"])
def test_a_visitor_signs_in_first(client, rater, name):
    make_pairs(rater, 1)
    response = client.post(address(name=name), COMPLETE)
    assert response.status_code == 302
    assert response.url.startswith(reverse("sign-in"))
    assert not Verdict.objects.exists()


@pytest.mark.parametrize("name", ["judge", "verdict"])
def test_a_stranger_a_wrong_position_and_a_withdrawn_rater_find_nothing(
    client, signed_in, rater, name, django_user_model
):
    make_pairs(rater, 1)
    assert signed_in.post(address(2, name=name), COMPLETE).status_code == 404
    stranger = django_user_model.objects.create_user("stranger", is_staff=True)
    make_clinician(make_study(), user=stranger)
    client.force_login(stranger)
    assert client.get(address()).status_code == 404
    assert client.post(address(name=name), COMPLETE).status_code == 404
    rater.withdrawn_at = timezone.now()
    rater.save()
    client.force_login(rater.user)
    assert client.post(address(name=name), COMPLETE).status_code == 404
    assert not Verdict.objects.exists()


def test_other_methods_are_refused(signed_in, rater):
    make_pairs(rater, 1)
    assert signed_in.put(address()).status_code == 405
    assert signed_in.get(address(name="verdict")).status_code == 405


@pytest.mark.parametrize("number", [3, 30])
def test_the_number_of_queries_does_not_grow_with_the_pairs(signed_in, rater, number, django_assert_num_queries):
    make_pairs(rater, number)
    with django_assert_num_queries(6):
        signed_in.get(address(2))


def test_the_order_is_the_stored_one_on_every_visit(signed_in, rater):
    study = rater.study
    comparison = make_comparison(make_prompt(study), make_system(study), make_system(study))
    make_assignment(comparison, rater, a_on_left=False)
    for _ in range(3):
        html = signed_in.get(address()).content.decode()
        assert html.index(comparison.response_b.text) < html.index(comparison.response_a.text)
    signed_in.post(address(), {"criterion-empathy": Choice.LEFT, "criterion-safety": Choice.LEFT})
    assert {verdict.winner for verdict in Verdict.objects.all()} == {"B"}


def test_but_for_the_texts_the_page_is_the_same_whichever_system_stands_left(signed_in, rater):
    systems = make_system(rater.study, name="secret-base"), make_system(rater.study, name="secret-aligned")
    prompt = make_prompt(rater.study)
    first = make_response(prompt, systems[0], text="  First text \r\n\r\n\r\nends. \n")
    second = make_response(prompt, systems[1], text="Second text\n\nends.")
    comparison = rater.study.comparisons.create(response_a=first, response_b=second)
    pair = make_assignment(comparison, rater, a_on_left=True)
    pages = []
    for a_on_left in (True, False):
        Assignment.objects.filter(pk=pair.pk).update(a_on_left=a_on_left)
        html = signed_in.get(address()).content.decode()
        assert "secret" not in html
        pages.append(re.sub(r'(csrftoken": |name="(csrfmiddlewaretoken|shown)" value=)"[^"]+"', "", html))
    swapped = pages[0].replace("First text", "X").replace("Second text", "First text").replace("X", "Second text")
    assert pages[0] != pages[1] == swapped
