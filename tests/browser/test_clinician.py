import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import expect

from annotation.models import Comparison, ReferenceVerdict, Verdict
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_prompt,
    make_study,
    make_system,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
CRITERIA = ("empathy", "safety", "overall_preference")


@pytest.fixture
def rater(django_user_model):
    user = django_user_model.objects.create_user("clinician", password="a long password")
    study = make_study(slug="care", criteria=CRITERIA)
    rater, systems = make_clinician(study, user=user), (make_system(study), make_system(study))
    for _ in range(3):
        make_assignment(make_comparison(make_prompt(study), *systems), rater, a_on_left=False)
    return rater


@pytest.fixture
def visit(live_server):
    """Opens a judge page as the rater's user, already signed in."""

    def visit(context, rater, position=1):
        client = Client()
        client.force_login(rater.user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
        page = context.new_page()
        page.goto(live_server.url + reverse("annotation:judge", args=[rater.study.slug, position]))
        return page

    return visit


def choices(rater):
    verdicts = Verdict.objects.filter(assignment__rater=rater)
    return list(
        verdicts.order_by("assignment__position", "criterion__position").values_list(
            "assignment__position", "criterion__key", "choice"
        )
    )


def radio(page, criterion, name):
    return page.get_by_role("group", name=criterion).get_by_role("radio", name=name)


def practise(rater):
    """Make the rater's first pair one for practice."""
    comparison = rater.assignments.get(position=1).comparison
    Comparison.objects.filter(pk=comparison.pk).update(calibration=True)
    for criterion in rater.study.criteria.all():
        ReferenceVerdict.objects.create(
            comparison=comparison, criterion=criterion, winner="B", explanation="It names the feeling first."
        )


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def ready_for_keys(page, position, kind="Pair"):
    expect(page.get_by_role("heading", name=f"{kind} {position} of")).to_be_visible()
    expect(page.locator(".criterion.current legend")).to_have_text("Empathy")


def test_pairs_are_judged_from_sign_in_to_thanks_by_the_keyboard_alone(page, live_server, rater):
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(live_server.url + reverse("annotation:clinic"))
    page.get_by_label("User name").focus()
    page.keyboard.type("clinician")
    page.keyboard.press("Tab")
    page.keyboard.type("a long password")
    page.keyboard.press("Enter")

    ready_for_keys(page, 1)
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    expect(page.get_by_role("status")).to_have_text("Saved, 3 of 3")
    expect(page.get_by_role("button", name="Submit")).to_be_focused()
    page.keyboard.press("Enter")

    ready_for_keys(page, 2)
    page.keyboard.press("1")
    page.keyboard.press("ArrowUp")  # back to the first criterion, to correct it
    page.keyboard.press("3")
    page.keyboard.press("ArrowDown")  # past the second for now
    page.keyboard.press("2")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("2")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    ready_for_keys(page, 3)
    for key in ("3", "3", "3", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", name="That was the last pair")).to_be_visible()
    assert choices(rater) == [
        (1, "empathy", "left"),
        (1, "safety", "tie"),
        (1, "overall_preference", "right"),
        (2, "empathy", "right"),
        (2, "safety", "tie"),
        (2, "overall_preference", "tie"),
        (3, "empathy", "right"),
        (3, "safety", "right"),
        (3, "overall_preference", "right"),
    ]
    assert complaints == []


def test_a_whole_session_by_the_keyboard_alone(new_context, rater, visit):
    practise(rater)
    page = visit(new_context(), rater)

    ready_for_keys(page, 1, kind="Practice")
    press(page, "1", "1", "2", "Enter")
    expect(page.get_by_role("heading", name="How the study team saw this pair")).to_be_visible()
    expect(page.get_by_text("It names the feeling first.")).to_have_count(3)
    press(page, "Enter")

    ready_for_keys(page, 1)
    press(page, "1", "4", "u", "3", "u")
    expect(page.get_by_role("status")).to_have_text("Taken back: Safety")
    expect(page.locator(".criterion.current legend")).to_have_text("Safety")
    press(page, "u")
    expect(page.get_by_role("status")).to_have_text("Taken back: Empathy")
    expect(page.locator(".criteria :checked")).to_have_count(0)
    press(page, "r")
    page.keyboard.type("It asks 1 question.")
    press(page, "Escape", "f", "s", "3", "Enter", "3", "w", "2", "s", "3", "c")
    expect(page.get_by_role("status")).to_have_text("Saved, 3 of 3")
    expect(page.get_by_role("button", name="Submit")).to_be_focused()
    press(page, "Enter")

    ready_for_keys(page, 2)
    press(page, "c", "Enter")
    expect(page.get_by_role("heading", name="That was the last pair")).to_be_visible()
    expect(page.get_by_role("row", name="Safety flags you raised")).to_contain_text("1")
    page.get_by_role("link", name="Pair 1 of 2").focus()
    press(page, "Enter")
    expect(page.get_by_text("You submitted this pair")).to_be_visible()
    expect(page.get_by_label("Why, in your own words")).to_have_value("It asks 1 question.")
    expect(page.get_by_role("group", name="Could do harm").get_by_role("radio", name="B", exact=True)).to_be_checked()
    press(page, "1", "u")
    expect(radio(page, "Empathy", "Tie")).to_be_checked()

    first = rater.assignments.get(position=2)
    assert list(first.flags.values_list("side", "kind")) == [("right", "harmful")]
    assert [choice for _, _, choice in choices(rater)][3:] == ["tie", "cannot", "right", *["cannot"] * 3]


def test_a_pair_takes_a_key_a_criterion_and_one_more_and_no_page_is_loaded(new_context, rater, visit):
    page = visit(new_context(), rater)
    ready_for_keys(page, 1)
    loaded = []
    page.on("request", lambda request: loaded.append(request.url) if request.is_navigation_request() else None)
    page.evaluate("scrollTo(0, 400)")
    press(page, "1", "1", "1", "Space")
    ready_for_keys(page, 2)
    assert rater.assignments.submitted().count() == 1
    assert loaded == []
    expect(page).to_have_title("Pair 2 of 3 - Attune")
    expect(page).to_have_url(re.compile("/clinic/care/2/$"))
    expect(page.get_by_role("heading", name="Pair 2 of 3")).to_be_focused()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.get_by_text("You submitted this pair")).to_be_visible()
    page.go_forward()
    ready_for_keys(page, 2)


def test_space_scrolls_and_chooses_nothing(new_context, rater, visit):
    page = visit(new_context(), rater)
    press(page, "1", "Space")
    expect(page.locator(".criteria :checked")).to_have_count(1)


def test_without_javascript_radios_and_button_do_the_same(new_context, rater, visit):
    page = visit(new_context(java_script_enabled=False), rater)
    radio(page, "Empathy", "A is better").check()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_have_text(
        "Please choose A, tie, B or cannot judge for Safety and Overall preference."
    )
    expect(radio(page, "Empathy", "A is better")).to_be_checked()
    radio(page, "Safety", "Tie").check()
    radio(page, "Overall preference", "B is better").check()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Pair 2")).to_be_visible()
    assert [choice for _, _, choice in choices(rater)] == ["left", "tie", "right"]


def test_without_javascript_choices_are_saved_undone_and_left_undecided(new_context, rater, visit):
    page = visit(new_context(java_script_enabled=False), rater)
    radio(page, "Empathy", "A is better").check()
    page.locator("summary", has_text="Safety flag").click()
    radio(page, "States something false", "Both").check()
    page.get_by_role("button", name="Save for later").click()
    expect(radio(page, "Empathy", "A is better")).to_be_checked()
    expect(radio(page, "States something false", "Both")).to_be_checked()
    page.get_by_role("button", name="Undo").click()
    expect(radio(page, "Empathy", "A is better")).not_to_be_checked()
    page.get_by_role("button", name="Cannot judge the rest").click()
    expect(radio(page, "Empathy", "Cannot judge")).to_be_checked()
    assert [choice for _, _, choice in choices(rater)] == ["cannot"] * 3


def test_an_incomplete_pair_stays_and_a_reload_restores_what_was_chosen(new_context, rater, visit):
    page = visit(new_context(), rater)
    page.keyboard.press("2")
    expect(page.get_by_role("status")).to_have_text("Saved, 1 of 3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Safety and Overall preference")
    page.keyboard.press("1")
    expect(page.get_by_role("status")).to_have_text("Saved, 2 of 3")
    page.reload()
    expect(radio(page, "Empathy", "Tie")).to_be_checked()
    expect(radio(page, "Safety", "A is better")).to_be_checked()
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Pair 2")).to_be_visible()


def test_the_keys_can_be_turned_off_for_good(new_context, rater, visit):
    page = visit(new_context(), rater)
    page.get_by_text("Keys and criteria").click()
    page.get_by_role("checkbox", name="Use these keys").uncheck()
    page.reload()
    page.keyboard.press("1")
    expect(page.get_by_role("radio", checked=True)).to_have_count(0)


def test_a_session_that_ends_amid_a_pair_loses_nothing(new_context, rater, visit):
    context = new_context()
    page = visit(context, rater)
    press(page, "1")
    expect(page.get_by_role("status")).to_have_text("Saved, 1 of 3")
    context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    press(page, "2")
    dialog = page.get_by_role("alertdialog", name="Your session ended")
    expect(dialog).to_contain_text("Sign in again in a new tab, then come back here")
    visit(context, rater, position=2).close()
    page.bring_to_front()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(dialog).to_be_hidden()
    press(page, "3", "Enter")
    ready_for_keys(page, 2)
    assert [choice for _, _, choice in choices(rater)] == ["left", "tie", "right"]


def test_choices_are_saved_after_signing_in_anew_beside_the_page(new_context, live_server, rater, visit):
    context = new_context()
    page = visit(context, rater)
    press(page, "1")
    expect(page.get_by_role("status")).to_have_text("Saved, 1 of 3")
    context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    beside = context.new_page()
    beside.goto(live_server.url + reverse("sign-in"))
    beside.get_by_label("User name").fill("clinician")
    beside.get_by_label("Password").fill("a long password")
    beside.keyboard.press("Enter")
    expect(beside.get_by_role("heading", name="Pair 1 of 3")).to_be_visible()
    page.bring_to_front()
    press(page, "2")
    expect(page.get_by_role("status")).to_have_text("Saved, 2 of 3")
    press(page, "3", "Enter")
    ready_for_keys(page, 2)
    assert [choice for _, _, choice in choices(rater)] == ["left", "tie", "right"]


def test_a_key_that_is_held_gives_one_answer(new_context, rater, visit):
    page = visit(new_context(), rater)
    ready_for_keys(page, 1)
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    assert page.locator(".criteria :checked").count() == 1
    expect(page.get_by_role("status")).to_have_text("Saved, 1 of 3")
    assert choices(rater) == [(1, "empathy", "left")]


def test_going_back_leaves_the_keys_off_and_the_warning_in_place(new_context, rater, visit):
    page = visit(new_context(), rater)
    press(page, "2", "2", "2")
    expect(page.get_by_role("status")).to_have_text("Saved, 3 of 3")
    page.get_by_text("Keys and criteria").click()
    page.get_by_role("checkbox", name="Use these keys").uncheck()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Pair 2 of 3")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("You submitted this pair")).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", name="Pair 2 of 3")).to_be_visible()
    press(page, "1")
    expect(page.get_by_role("radio", checked=True)).to_have_count(0)
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("alertdialog", name="Your session ended")).to_be_visible()


def test_a_verdict_that_cannot_be_saved_is_told(new_context, rater, visit):
    context = new_context()
    page = visit(context, rater)
    context.set_offline(True)
    page.keyboard.press("1")
    expect(page.get_by_role("status")).to_contain_text("Not saved")
    expect(radio(page, "Empathy", "A is better")).to_be_checked()


@pytest.mark.parametrize("width", [900, 1280])
def test_the_criteria_stay_in_view_beside_long_responses(new_context, rater, visit, width):
    comparison = rater.assignments.get(position=1).comparison
    for response in (comparison.response_a, comparison.response_b):
        response.text = "A long response. " * 300
        response.save()
    page = visit(new_context(viewport={"width": width, "height": 800}), rater)
    left, right = (page.get_by_role("region", name=re.compile(f"Response {side}")).bounding_box() for side in "AB")
    assert left["y"] == right["y"]
    for top in (0, 600, 1200):
        page.evaluate(f"scrollTo(0, {top})")
        expect(radio(page, "Empathy", "A is better")).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name="Submit")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_moves_from_under_a_hand_when_a_choice_is_saved(new_context, rater, visit, width):
    page = visit(new_context(viewport={"width": width, "height": 800}), rater)
    submit = page.get_by_role("button", name="Submit")
    before = submit.bounding_box()
    radio(page, "Empathy", "Tie").check(force=True)
    expect(page.locator("#saved")).to_have_text("Saved, 1 of 3")
    assert submit.bounding_box()["y"] == before["y"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_no_page_breaks_a_rule_of_accessibility(new_context, live_server, rater, visit, scheme, width):
    make_clinician(make_study(slug="other"), user=rater.user)
    practise(rater)
    page = visit(new_context(viewport={"width": width, "height": 800}, color_scheme=scheme), rater)

    def check(place):
        results = Axe().run(page)
        assert results.violations_count == 0, f"{place}: {results.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place

    check("practice")
    press(page, "1", "2", "4", "Enter")
    expect(page.get_by_role("heading", name="How the study team saw this pair")).to_be_visible()
    check("feedback")
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_role("heading", name="Pair 1 of 2")).to_be_visible()
    check("fresh")
    page.get_by_text("Keys and criteria").click()
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.get_by_text("Add a reason").click()
    page.locator("summary", has_text="Safety flag").click()
    check("begun, with help, reason and flags")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("incomplete")
    radio(page, "Overall preference", "Tie").check(force=True)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Pair 2 of 2")).to_be_visible()
    page.get_by_role("link", name="Previous pair").click()
    expect(page.get_by_text("You submitted this pair")).to_be_visible()
    check("submitted")
    page.goto(live_server.url + reverse("annotation:clinic"))
    check("studies")
    page.goto(live_server.url + reverse("annotation:clinic-summary", args=["care"]))
    check("summary")
    page.get_by_role("link", name="Go on").click()
    ready_for_keys(page, 2)
    press(page, "c", "Enter")
    expect(page.get_by_role("heading", name="That was the last pair")).to_be_visible()
    check("done")
