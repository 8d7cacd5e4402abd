import re
from datetime import timedelta

import pytest
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from annotation.models import Assignment, Choice, Comparison, JudgingDesign, ReferenceVerdict, StudyStatus, Verdict
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
    assert html.count('type="radio"') == 8 + 3
    assert "no-store" in page["Cache-Control"]
    pair.refresh_from_db()
    assert pair.opened_at is None


def test_complete_verdicts_are_submitted_and_lead_on(signed_in, rater):
    (pair, _) = make_pairs(rater, 2)
    response = signed_in.post(address(), COMPLETE)
    assert response.status_code == 302
    assert response.url == address(2)
    pair.refresh_from_db()
    assert pair.submitted_at
    assert set(pair.verdicts.values_list("criterion__key", "choice")) == {("empathy", "left"), ("safety", "tie")}


def test_the_next_pair_is_the_reply_to_htmx(signed_in, rater):
    (_, following) = make_pairs(rater, 2)
    response = signed_in.post(address(), COMPLETE, headers={"HX-Request": "true"})
    html = response.content.decode()
    assert (response["HX-Retarget"], response["HX-Push-Url"]) == (".judge", address(2))
    assert "<title>Pair 2 of 2 - Attune</title>" in html
    assert following.comparison.response_a.text in html
    assert "<!doctype" not in html
    assert "no-store" in response["Cache-Control"]
    last = signed_in.post(address(2), COMPLETE, headers={"HX-Request": "true"})
    assert last["HX-Redirect"] == reverse("annotation:clinic-done", args=["care"])


def test_a_reason_is_kept_and_stands_once_submitted(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(name="verdict"), {"reason": "It asks before it advises."})
    assert "It asks before it advises." in signed_in.get(address()).content.decode()
    signed_in.post(address(), COMPLETE)
    late = signed_in.post(address(name="verdict"), {"reason": "Another."})
    assert late.status_code == 422
    pair.refresh_from_db()
    assert pair.reason == "It asks before it advises."


def test_an_empty_choice_takes_a_verdict_back_and_what_is_not_sent_stays(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(name="verdict"), COMPLETE)
    signed_in.post(address(name="verdict"), {"criterion-empathy": ""})
    assert list(pair.verdicts.values_list("criterion__key", "choice")) == [("safety", "tie")]


def test_what_cannot_be_judged_completes_a_pair_and_has_no_winner(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(), {**COMPLETE, "criterion-safety": "cannot"})
    assert pair.verdicts.get(criterion__key="safety").winner is None


FLAG = {"flag-side": "right", "flag-kind": "risk_missed", "flag-note": "Asks nothing about safety."}


def test_a_safety_flag_is_raised_changed_and_taken_back(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    assert signed_in.post(address(name="flag"), FLAG).url == address()
    fragment = signed_in.post(
        address(name="flag"), {**FLAG, "flag-note": "No question."}, headers={"HX-Request": "true"}
    ).content.decode()
    assert fragment.strip().startswith('<form id="flags"')
    assert "Response B: overlooks a risk of harm. No question." in fragment
    assert pair.flags.count() == 1
    signed_in.post(address(name="flag"), {"remove": "right:risk_missed"})
    assert not pair.flags.exists()


@pytest.mark.parametrize("wrong", [{**FLAG, "flag-side": "up"}, {**FLAG, "flag-kind": ""}, {"remove": "up:high"}])
def test_a_flag_that_cannot_be_is_refused(signed_in, rater, wrong):
    (pair,) = make_pairs(rater, 1)
    pair.flag("left", "harmful")
    assert signed_in.post(address(name="flag"), wrong).status_code == 422
    assert pair.flags.count() == 1


def test_flags_of_a_submitted_pair_stand(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(name="flag"), FLAG)
    signed_in.post(address(), COMPLETE)
    assert signed_in.post(address(name="flag"), {**FLAG, "flag-side": "left"}).status_code == 422
    assert signed_in.post(address(name="flag"), {"remove": "right:risk_missed"}).status_code == 422
    assert pair.flags.count() == 1


def test_practice_comes_with_feedback_and_counts_for_nothing(signed_in, rater):
    practice, _ = make_pairs(rater, 2)
    Comparison.objects.filter(pk=practice.comparison_id).update(calibration=True)
    for criterion in rater.study.criteria.all():
        ReferenceVerdict.objects.create(
            comparison=practice.comparison, criterion=criterion, winner="B", explanation="It names the risk."
        )
    before = signed_in.get(address()).content.decode()
    assert "Practice 1 of 1" in before
    assert "It names the risk." not in before
    after = signed_in.post(address(), COMPLETE, follow=True).content.decode()
    assert "You: <strong>A</strong>. The team: <strong>B</strong>. It names the risk." in after
    assert "0 of 1 done" in after
    assert "Pair 1" in signed_in.get(address(2)).content.decode()


def test_a_second_look_is_like_any_pair(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    make_assignment(pair.comparison, rater, a_on_left=False, presentation=2)
    assert signed_in.post(address(), COMPLETE).url == address(2)
    html = signed_in.get(address(2)).content.decode()
    assert "1 of 2 done" in html
    assert "Pair 2" in html


def test_pairs_of_a_design_wait_until_it_is_opened(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    design = JudgingDesign.objects.create(study=rater.study, name="main", prompts=1)
    Comparison.objects.filter(pk=pair.comparison_id).update(design=design)
    assert signed_in.get(address()).status_code == 404
    JudgingDesign.objects.update(opened_at=timezone.now())
    assert signed_in.get(address()).status_code == 200


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
    assert (
        "Please choose A, tie, B or cannot judge for Empathy and Safety." in signed_in.post(address()).content.decode()
    )


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
    assert html.count(" disabled") == 9
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


@pytest.mark.parametrize("name", ["judge", "verdict", "flag"])
def test_a_visitor_signs_in_first(client, rater, name):
    make_pairs(rater, 1)
    response = client.post(address(name=name), COMPLETE)
    assert response.status_code == 302
    assert response.url.startswith(reverse("sign-in"))
    assert not Verdict.objects.exists()


@pytest.mark.parametrize("name", ["judge", "verdict", "flag"])
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
    with django_assert_num_queries(8):
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
