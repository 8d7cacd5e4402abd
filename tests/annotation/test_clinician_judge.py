import re
from datetime import timedelta

import pytest
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from annotation.errors import StudyError
from annotation.models import (
    Assignment,
    Choice,
    Comparison,
    JudgingDesign,
    ReferenceVerdict,
    StudyStatus,
    Verdict,
    VerdictEvent,
)
from annotation.working_time import BREAK, REST_PAIRS
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
HTMX = {"HX-Request": "true"}
AUTOSAVE = {**HTMX, "HX-Target": "saved"}


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
    assert html.count('type="radio"') == 2 * 4 + 5 * 4
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
    response = signed_in.post(address(), COMPLETE, headers=HTMX)
    html = response.content.decode()
    assert response["HX-Push-Url"] == address(2)
    assert "<title>Pair 2 of 2 - Attune</title>" in html
    assert following.comparison.response_a.text in html
    assert "<!doctype" not in html
    assert "no-store" in response["Cache-Control"]
    last = signed_in.post(address(2), COMPLETE, headers=HTMX)
    assert last["HX-Redirect"] == reverse("annotation:clinic-summary", args=["care"])


def test_a_pair_that_came_with_the_reply_was_first_shown_then(signed_in, rater):
    (_, following) = make_pairs(rater, 2)
    before = timezone.now()
    reply = signed_in.post(address(), COMPLETE, headers=HTMX).content.decode()
    after = timezone.now()
    following.refresh_from_db()
    assert following.opened_at is None
    shown = re.search(r'name="shown" value="([^"]+)"', reply).group(1)
    signed_in.post(address(2), {**COMPLETE, "shown": shown})
    following.refresh_from_db()
    assert before <= following.opened_at <= after


def test_a_reason_is_kept_and_stands_once_submitted(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(name="verdict"), {"reason": "It asks before it advises."})
    assert "It asks before it advises." in signed_in.get(address()).content.decode()
    signed_in.post(address(), COMPLETE)
    assert signed_in.post(address(name="verdict"), {"reason": "Another."}).status_code == 422
    pair.refresh_from_db()
    assert pair.reason == "It asks before it advises."


def test_what_is_not_sent_stays(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(name="verdict"), {**COMPLETE, **FLAG, "reason": "It asks."})
    signed_in.post(address(name="verdict"), {"criterion-empathy": "right"})
    pair.refresh_from_db()
    assert set(pair.verdicts.values_list("choice", flat=True)) == {"right", "tie"}
    assert pair.reason == "It asks."
    assert pair.flags.count() == 1


def test_what_cannot_be_judged_completes_a_pair_and_has_no_winner(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(), {**COMPLETE, "criterion-safety": "cannot"})
    assert pair.verdicts.get(criterion__key="safety").winner is None


def test_what_is_left_of_a_pair_cannot_be_judged_in_one_action(signed_in, rater):
    first, second = make_pairs(rater, 2)
    assert signed_in.post(address(name="verdict"), {"rest": "cannot"}).url == address()
    assert list(first.verdicts.values_list("choice", flat=True)) == ["cannot", "cannot"]
    said = signed_in.post(address(2, "verdict"), {"rest": "cannot", "criterion-safety": "left"}, headers=AUTOSAVE)
    assert said.content.decode() == "Saved, 2 of 2"
    assert set(second.verdicts.values_list("criterion__key", "choice")) == {("empathy", "cannot"), ("safety", "left")}
    assert not Assignment.objects.submitted().exists()


FLAG = {"flag-risk_missed": "right", "note": "Asks nothing about safety."}


def test_safety_flags_are_raised_changed_and_taken_back(signed_in, rater):
    (pair,) = make_pairs(rater, 1)

    def flags():
        return set(pair.flags.values_list("kind", "side", "note"))

    assert signed_in.post(address(name="verdict"), FLAG).url == address()
    assert flags() == {("risk_missed", "right", "Asks nothing about safety.")}
    signed_in.post(address(name="verdict"), {"flag-false": "both", "note": "Wrong number."})
    assert flags() == {("risk_missed", "right", "Wrong number."), ("false", "both", "Wrong number.")}
    signed_in.post(address(name="verdict"), {"flag-risk_missed": "", "flag-false": "left"})
    assert flags() == {("false", "left", "Wrong number.")}
    html = signed_in.get(address()).content.decode()
    assert re.search(r'name="flag-false" value="left"[^>]* checked', html)


def test_a_flag_that_cannot_be_is_refused(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    assert signed_in.post(address(name="verdict"), {"flag-false": "up"}).status_code == 422
    assert not pair.flags.exists()


def test_flags_of_a_submitted_pair_stand(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(), {**COMPLETE, **FLAG})
    assert signed_in.post(address(name="verdict"), {"flag-risk_missed": ""}).status_code == 422
    assert pair.flags.count() == 1
    with pytest.raises(StudyError, match="already submitted"):
        pair.flag({})


def test_changes_are_taken_back_one_by_one_until_none_is_left(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    for choice in (COMPLETE, {"criterion-safety": "left"}, {"criterion-safety": "right"}):
        signed_in.post(address(name="verdict"), choice)

    def undone():
        reply = signed_in.post(address(name="undo"), headers=HTMX)
        assert reply.status_code == 200
        said = re.search(r'role="status">([^<]*)<', reply.content.decode()).group(1)
        return said, dict(pair.verdicts.values_list("criterion__key", "choice"))

    assert undone() == ("Taken back: Safety", {"empathy": "left", "safety": "left"})
    assert undone() == ("Taken back: Safety", {"empathy": "left", "safety": "tie"})
    # What was given at once is taken back at once.
    assert undone() == ("Taken back: Safety and Empathy", {})
    assert undone() == ("Nothing to take back", {})
    assert VerdictEvent.objects.count() == 8


def test_undo_works_without_javascript_and_ends_with_the_submission(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    assert signed_in.post(address(name="undo"), {"criterion-safety": "left"}).url == address()
    assert not pair.verdicts.exists()
    signed_in.post(address(), COMPLETE)
    late = signed_in.post(address(name="undo"))
    assert late.status_code == 422
    assert "already submitted" in late.content.decode()
    assert pair.verdicts.count() == 2


def test_practice_comes_with_feedback_and_counts_for_nothing(signed_in, rater):
    _, practice = make_pairs(rater, 2)
    Comparison.objects.filter(pk=practice.comparison_id).update(calibration=True)
    for criterion in rater.study.criteria.all():
        ReferenceVerdict.objects.create(
            comparison=practice.comparison, criterion=criterion, winner="B", explanation="It names the risk."
        )
    before = signed_in.get(reverse("annotation:next-comparison", args=["care"]), follow=True).content.decode()
    assert "Practice 1 of 1" in before
    assert "It names the risk." not in before
    after = signed_in.post(address(2), COMPLETE, follow=True).content.decode()
    assert "You: <strong>A</strong>. The team: <strong>B</strong>" in after
    assert "It names the risk." in after
    real = signed_in.get(address()).content.decode()
    assert "Pair 1 of 1" in real
    assert "0 of 1 done" in real


def test_feedback_on_practice_is_the_reply_to_htmx_and_names_sides_as_they_stand(signed_in, rater):
    (practice,) = make_pairs(rater, 1)
    Comparison.objects.update(calibration=True)
    Assignment.objects.update(a_on_left=False)
    for criterion, winner in zip(rater.study.criteria.all(), ("B", "tie"), strict=True):
        ReferenceVerdict.objects.create(comparison=practice.comparison, criterion=criterion, winner=winner)
    reply = signed_in.post(address(), COMPLETE, headers=HTMX)
    assert "HX-Push-Url" not in reply
    assert "You and the team: <strong>A</strong>" in reply.content.decode()
    assert "You and the team: <strong>tie</strong>" in reply.content.decode()


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
    unsaved = signed_in.post(address(name="verdict"), nonsense, headers=AUTOSAVE)
    assert unsaved.status_code == 422
    assert "Not saved. Reload the page" in unsaved.content.decode()
    assert not pair.verdicts.exists()


def test_htmx_gets_the_form_alone(signed_in, rater):
    make_pairs(rater, 1)
    fragment = signed_in.post(address(), {}, headers=HTMX)
    assert fragment.status_code == 422
    assert fragment.content.decode().strip().startswith('<form id="verdicts"')
    assert "HX-Request" in fragment["Vary"]


def test_a_verdict_is_kept_as_it_is_chosen_and_restored(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    saved = signed_in.post(address(name="verdict"), {"criterion-safety": "right"}, headers=AUTOSAVE)
    assert saved.content.decode().strip() == "Saved, 1 of 2"
    signed_in.post(address(name="verdict"), {"criterion-safety": "tie"})
    assert list(pair.verdicts.values_list("choice", flat=True)) == ["tie"]
    html = signed_in.get(address()).content.decode()
    assert re.findall(r'name="(criterion[^"]+)" value="([^"]+)"[^>]* checked', html) == [("criterion-safety", "tie")]


def test_a_submitted_pair_can_be_read_and_no_longer_changed(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    signed_in.post(address(), COMPLETE)
    html = signed_in.get(address()).content.decode()
    assert "You submitted this pair" in html
    assert html.count(" disabled") == 9
    assert 'type="submit">Submit' not in html
    changed = {"criterion-empathy": "right", "criterion-safety": "right"}
    assert signed_in.post(address(), changed).status_code == 422
    late = signed_in.post(address(name="verdict"), changed, headers=AUTOSAVE)
    assert late.status_code == 422
    assert "already submitted" in late.content.decode()
    assert set(pair.verdicts.values_list("choice", flat=True)) == {"left", "tie"}


def test_a_locked_study_shows_neither_pairs_nor_takes_verdicts(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    lock(rater.study)
    for page in (signed_in.get(address()), signed_in.post(address(), COMPLETE)):
        assert "This study is locked" in page.content.decode()
        assert pair.comparison.response_a.text not in page.content.decode()
    late = signed_in.post(address(name="verdict"), COMPLETE, headers=AUTOSAVE)
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


@pytest.mark.parametrize("name", ["judge", "verdict", "undo"])
def test_a_visitor_signs_in_first(client, rater, name):
    make_pairs(rater, 1)
    response = client.post(address(name=name), COMPLETE)
    assert response.status_code == 302
    assert response.url == f"{reverse('sign-in')}?next={address()}"
    assert not Verdict.objects.exists()


@pytest.mark.parametrize("name", ["judge", "verdict", "undo"])
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
    assert signed_in.get(address(name="undo")).status_code == 405


def test_a_rest_is_suggested_once_when_it_is_due(signed_in, rater):
    make_pairs(rater, REST_PAIRS + 2)
    now = timezone.now()
    for pair in rater.assignments.order_by("position")[: REST_PAIRS - 1]:
        opened = now - timedelta(minutes=REST_PAIRS - pair.position)
        Assignment.objects.filter(pk=pair.pk).update(opened_at=opened, submitted_at=opened + timedelta(seconds=30))
    assert "A short rest" not in signed_in.get(address(REST_PAIRS)).content.decode()
    following = signed_in.post(address(REST_PAIRS), COMPLETE, follow=True).content.decode()
    assert f"You have judged {REST_PAIRS} pairs in 24 minutes" in following
    assert "A short rest" in following
    last = signed_in.post(address(REST_PAIRS + 1), COMPLETE, follow=True).content.decode()
    assert "A short rest" not in last


@pytest.mark.parametrize("number", [3, 30])
def test_the_number_of_queries_does_not_grow_with_the_pairs(signed_in, rater, number, django_assert_num_queries):
    make_pairs(rater, number)
    with django_assert_num_queries(9):
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


def test_a_pair_that_stood_on_the_page_through_a_break_does_not_count_it(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    shown = signing.dumps((timezone.now() - timedelta(hours=1)).timestamp(), salt=f"annotation.assignment.{pair.pk}")
    signed_in.post(address(), {**COMPLETE, "shown": shown})
    pair.refresh_from_db()
    assert timedelta(0) < pair.submitted_at - pair.opened_at <= BREAK + timedelta(seconds=30)


def test_a_note_without_a_flag_is_asked_for_and_not_lost(signed_in, rater):
    (pair,) = make_pairs(rater, 1)
    note = {"note": "It advises to stop a medicine."}
    saved = signed_in.post(address(name="verdict"), note, headers=AUTOSAVE)
    assert b"but not the note. Please choose under Safety flag" in saved.content
    page = signed_in.post(address(), {**COMPLETE, **note})
    assert page.status_code == 422
    assert note["note"] in page.content.decode()
    signed_in.post(address(), {**COMPLETE, **note, "flag-harmful": "left"})
    assert [flag.note for flag in pair.flags.all()] == [note["note"]]


def test_a_note_too_long_to_keep_is_told_and_not_lost(signed_in, rater):
    make_pairs(rater, 1)
    page = signed_in.post(address(), {**COMPLETE, "note": "x" * 501})
    assert page.status_code == 422
    assert "x" * 501 in page.content.decode()
