"""The team's way: a design is drawn by form, read, and opened, by keyboard and on a phone as well."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.core.cache import cache
from playwright.sync_api import expect

from annotation.models import JudgingDesign, Split
from tests.factories import make_clinician, make_prompt, make_response, make_study, make_system

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def team(page, live_server, client, django_user_model):
    cache.clear()
    study = make_study(slug="pilot")
    systems = [make_system(study, name=name) for name in ("base", "modpo")]
    for index in range(12):
        prompt = make_prompt(study, split=Split.TEST, risk=index < 4, text="word " * (index + 1))
        for system in systems:
            make_response(prompt, system, text=f"As an AI language model, I hear you. {index}")
    for _ in range(3):
        make_clinician(study, simulated=True)
    client.force_login(django_user_model.objects.create_superuser("admin", password="a long password"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    return page


def draw(page, live_server):
    page.goto(f"{live_server.url}/admin/annotation/judgingdesign/add/")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("checkbox", name="base").check()
    page.get_by_role("checkbox", name="modpo").check()
    page.get_by_label("Prompts").fill("8")
    page.get_by_label("Repeated pairs").fill("2")
    page.get_by_role("button", name="Draw the design").click()
    expect(page.get_by_role("heading", name="Design: main")).to_be_visible()


def test_a_design_is_drawn_read_and_opened(team, live_server):
    draw(team, live_server)
    team.get_by_label("Clinicians in all").fill("5")
    team.get_by_label("Clinicians in all").press("Enter")
    expect(team.get_by_text("5 clinicians in all")).to_be_visible()
    team.get_by_role("button", name="Open for clinicians").click()
    expect(team.get_by_text("Tick the box")).to_be_visible()
    team.get_by_role("checkbox").focus()
    team.keyboard.press("Space")
    team.keyboard.press("Tab")
    team.keyboard.press("Enter")
    expect(team.get_by_text("Design main is open for clinicians.")).to_be_visible()
    assert JudgingDesign.objects.get().opened_at


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_overflows_a_phone(team, live_server, scheme):
    team.set_viewport_size({"width": 360, "height": 740})
    team.emulate_media(color_scheme=scheme)
    draw(team, live_server)
    design = JudgingDesign.objects.get()
    addresses = ("add/", f"add/?study={design.study_id}", f"{design.pk}/change/", f"{design.pk}/phrases/")
    for address in addresses:
        team.goto(f"{live_server.url}/admin/annotation/judgingdesign/{address}")
        assert team.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        result = Axe().run(team, context="#content")
        assert result.violations_count == 0, result.generate_report()
