"""A participant's way in a real browser: by keys alone, by touch on a small phone, without JavaScript."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import expect

from annotation.models import ItemKind, Participant, ParticipantStatus, QuestionnaireItem, Ranking
from tests.factories import make_prompt, make_study

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LETTERS = "ABCDE"
PHONE = {"width": 360, "height": 640}


@pytest.fixture
def study():
    study = make_study(
        tasks_per_participant=1, content_note="The post may be sad.", debrief="You are done.", contact="Write to us."
    )
    make_prompt(study, responses=5, topic="low_mood", risk=True)
    for position, kind in enumerate([ItemKind.SINGLE, ItemKind.MULTIPLE], start=1):
        QuestionnaireItem.objects.create(
            study=study,
            key=f"item-{position}",
            position=position,
            section="About you",
            text=f"Question {position}?",
            help="Choose what fits.",
            kind=kind,
            options=[{"value": "yes", "label": "Yes"}, {"value": "no", "label": "No"}],
            optional=position == 2,
        )
    return study


@pytest.fixture
def start(live_server, study):
    return live_server.url + reverse("annotation:information", args=[study.slug])


def to_the_ranking(page, start):
    """Agree, answer, pass the note."""
    page.goto(start)
    page.get_by_label("I agree.").check()
    page.get_by_role("button", name="I agree and").click()
    page.get_by_role("group", name="Question 1?").get_by_label("Yes").check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Continue to the post").click()
    page.wait_for_url("**/rank/1/empathy/")


def chosen(page):
    """The ranks that the form would send, by letter."""
    return {letter: page.locator(f"[name=rank_{letter}]").input_value() for letter in LETTERS}


def number(page, letter, rank):
    return page.get_by_role("button", name=f"Rank response {letter} {rank} of 5")


def stored(key="empathy"):
    ranking = Ranking.objects.submitted().get(criterion__key=key)
    places = {place.response_id: place.letter for place in ranking.task.task_responses.all()}
    return "".join(places[row.response_id] for row in ranking.ranked_responses.all())


def tab_to(page, locator):
    """Press Tab until the element has the focus."""
    for _ in range(80):
        if locator.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reached {locator}")


def test_the_whole_way_by_keyboard_alone(page, start):
    def press(locator, key="Enter"):
        tab_to(page, locator)
        page.keyboard.press(key)

    page.goto(start)
    press(page.get_by_label("I agree."), "Space")
    press(page.get_by_role("button", name="I agree and"))
    page.wait_for_url("**/questions/1/")
    press(page.get_by_role("group", name="Question 1?").get_by_label("Yes"), "Space")
    press(page.get_by_role("button", name="Continue"))
    page.wait_for_url("**/rank/1/")
    press(page.get_by_role("button", name="Continue to the post"))
    page.wait_for_url("**/empathy/")
    for letter, rank in zip(LETTERS, "54321", strict=True):
        press(page.locator(f"#response-{letter}"), rank)
    press(page.get_by_role("button", name="Save and continue"))
    page.wait_for_url("**/safety/")
    for letter in LETTERS:
        press(page.get_by_role("button", name=f"Move response {letter} up"))
    press(page.get_by_role("button", name="Save and finish"))
    page.wait_for_url("**/thank-you/")
    assert (stored("empathy"), stored("safety")) == ("EDCBA", "ABCDE")


def test_the_whole_way_without_javascript(browser, start):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    to_the_ranking(page, start)
    page.get_by_label("Rank of response A").select_option("2")
    page.get_by_role("button", name="Save and continue").click()
    expect(page.get_by_role("alert")).to_contain_text("Responses B, C, D and E have no rank yet.")
    assert page.get_by_label("Rank of response A").input_value() == "2"
    for key in ("empathy", "safety"):
        page.wait_for_url(f"**/{key}/")
        for letter, rank in zip(LETTERS, "21345", strict=True):
            page.get_by_label(f"Rank of response {letter}").select_option(rank)
        page.get_by_role("button", name="Save and").click()
    page.wait_for_url("**/thank-you/")
    assert stored() == "BACDE"
    expect(page.get_by_role("link", name="Leave this page")).to_have_attribute("href", "https://www.wikipedia.org/")
    context.close()


def test_on_a_small_phone_everything_is_done_by_touch_and_nothing_spills_over(browser, start):
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    to_the_ranking(page, start)
    for letter, rank in zip(LETTERS, "31542", strict=True):
        number(page, letter, rank).tap()
    page.get_by_role("button", name="Move response D up").tap()
    assert chosen(page) == dict(zip(LETTERS, "41532", strict=True))
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for button in page.locator("#response-A button, .actions button, .support a").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44, button
    page.get_by_role("button", name="Save and continue").tap()
    page.wait_for_url("**/safety/")
    assert stored() == "BEDAC"
    context.close()


def test_a_letter_is_dragged_to_a_place_between_places_and_back(page, start):
    to_the_ranking(page, start)

    def drag(source, target):
        source.hover()
        page.mouse.down()
        box = target.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=8)
        # As a hand does: the library looks every 50 ms where the pointer is.
        page.wait_for_timeout(200)
        page.mouse.up()

    def chip(letter):
        return page.locator(f".chip[data-letter={letter}]")

    slot = page.locator(".slot")
    drag(chip("C"), slot.nth(0))
    drag(chip("A"), slot.nth(1))
    assert chosen(page) == {"A": "2", "B": "", "C": "1", "D": "", "E": ""}
    drag(chip("A"), slot.nth(0))
    assert chosen(page) == {"A": "1", "B": "", "C": "2", "D": "", "E": ""}
    drag(chip("C"), page.locator(".tray"))
    assert chosen(page) == {"A": "1", "B": "", "C": "", "D": "", "E": ""}
    expect(page.locator("[data-announce]")).to_have_text("Response C is not ranked")


def test_moves_are_announced_and_those_in_between_make_room(page, start):
    to_the_ranking(page, start)
    for letter, rank in zip(LETTERS, "12345", strict=True):
        number(page, letter, rank).click()
    number(page, "E", 2).click()
    expect(page.locator("[data-announce]")).to_have_text("Response E is now 2 of 5")
    assert chosen(page) == {"A": "1", "B": "3", "C": "4", "D": "5", "E": "2"}
    page.get_by_role("button", name="Move response A up").click()
    expect(page.locator("[data-announce]")).to_have_text("Response A is already 1 of 5")
    number(page, "E", 2).click()
    assert chosen(page)["E"] == ""


def test_a_draft_survives_closing_the_browser(browser, start):
    context = browser.new_context()
    page = context.new_page()
    to_the_ranking(page, start)
    number(page, "D", 1).click()
    expect(page.locator("[data-save-status]")).to_have_text("Saved")
    kept = context.storage_state()
    context.close()
    context = browser.new_context(storage_state=kept)
    page = context.new_page()
    page.goto(start)
    page.wait_for_url("**/empathy/")
    assert chosen(page) == {"A": "", "B": "", "C": "", "D": "1", "E": ""}
    expect(number(page, "D", 1)).to_have_attribute("aria-pressed", "true")
    context.close()


def test_an_unsaved_draft_is_told_and_saved_when_the_network_is_back(context, page, start):
    to_the_ranking(page, start)
    context.set_offline(True)
    number(page, "B", 1).click()
    expect(page.locator("[data-save-status]")).to_contain_text("Not saved yet")
    context.set_offline(False)
    expect(page.locator("[data-save-status]")).to_have_text("Saved")


def test_an_incomplete_ranking_is_answered_in_place_and_the_form_goes_on_working(page, start):
    to_the_ranking(page, start)
    number(page, "A", 1).click()
    page.get_by_role("button", name="Save and continue").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Responses B, C, D and E have no rank yet.")
    expect(alert).to_be_focused()
    assert chosen(page)["A"] == "1"
    for letter, rank in zip("BCDE", "2345", strict=True):
        number(page, letter, rank).click()
    page.get_by_role("button", name="Save and continue").click()
    page.wait_for_url("**/safety/")
    page.get_by_role("link", name="Back", exact=True).click()
    page.wait_for_url("**/empathy/")
    assert chosen(page) == dict(zip(LETTERS, "12345", strict=True))


@pytest.mark.parametrize("way", ["link", "keys"])
def test_leaving_blanks_the_page_and_leaves_no_way_back(page, start, way):
    page.route("https://www.wikipedia.org/", lambda route: route.fulfill(body="An encyclopedia"))
    to_the_ranking(page, start)
    if way == "link":
        page.get_by_role("link", name="Leave this page").click()
    else:
        for _ in range(3):
            page.keyboard.press("Shift")
    page.wait_for_url("https://www.wikipedia.org/")
    page.go_back()
    assert not re.search("/empathy/$", page.url)


def test_no_page_breaks_the_content_security_policy(page, start):
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if "Security" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    to_the_ranking(page, start)
    number(page, "A", 1).click()
    page.get_by_role("button", name="Save and continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(browser, live_server, start, study, scheme):
    context = browser.new_context(color_scheme=scheme, viewport=PHONE, reduced_motion="reduce")
    page = context.new_page()
    found = {}

    def check(name):
        violations = Axe().run(page).response["violations"]
        if violations:
            found[name] = [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations]

    page.goto(start)
    check("information")
    page.get_by_role("button", name="I agree and").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("information refused")
    page.get_by_label("I agree.").check()
    page.get_by_role("button", name="I agree and").click()
    page.wait_for_url("**/questions/1/")
    check("questions")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("questions refused")
    page.get_by_role("group", name="Question 1?").get_by_label("Yes").check()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/rank/1/")
    check("note")
    page.get_by_role("button", name="Continue to the post").click()
    page.wait_for_url("**/empathy/")
    check("rank")
    number(page, "A", 1).click()
    page.get_by_role("button", name="Save and continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("rank refused")
    here = page.url
    for name in ("pause", "help", "withdraw", "goodbye"):
        page.goto(live_server.url + reverse(f"annotation:{name}", args=[study.slug]))
        check(name)
    for name in ("home", "sign-in", "get-help"):
        page.goto(live_server.url + reverse(name))
        check(name)
    page.goto(here)
    for ending in (ParticipantStatus.COMPLETE, ParticipantStatus.DECLINED, ParticipantStatus.FULL):
        Participant.objects.update(status=ending)
        page.goto(start)
        check(ending)
    study.advance("closed")
    page.goto(start)
    check("closed")
    assert found == {}
    context.close()
