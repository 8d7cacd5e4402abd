"""The admin's way: a study is closed and locked in the browser, and its report opens up."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from playwright.sync_api import expect

from annotation.models import AuditEvent, Study, StudyStatus
from tests.evaluation.judged import judged_study

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def study(django_user_model):
    cache.clear()
    django_user_model.objects.create_superuser("admin", password="a long password")
    return judged_study(comparisons=4, clinicians=3, simulated=True)


@pytest.fixture
def admin(page, live_server, study):
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("a long password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Studies, training, reports")).to_be_visible()
    return page


def run_action(page, live_server, study, name):
    page.goto(f"{live_server.url}/admin/annotation/study/")
    page.locator("tr", has_text=study.slug).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option(label=name)
    page.get_by_role("button", name="Run the selected action").or_(page.get_by_role("button", name="Go")).click()


def mean_it(page, study, deed):
    page.get_by_label("Type the short name of the study").fill(study.slug)
    page.get_by_role("button", name=f"{deed} {study}").click()
    expect(page.get_by_text(f"{study} is now {deed.lower()}ed")).to_be_visible()


def open_report(page, live_server, study):
    page.goto(f"{live_server.url}/admin/evaluation/studyreport/")
    page.get_by_role("link", name=study.title).click()


def test_the_report_is_blind_until_the_study_is_unblinded_in_the_browser(admin, live_server, study):
    open_report(admin, live_server, study)
    for system in ("Base", "MODPO"):
        expect(admin.locator("#content")).not_to_contain_text(system)
    assert admin.locator("#content").get_by_text("simulated").first.is_visible()

    run_action(admin, live_server, study, "Close: no new rankings")
    run_action(admin, live_server, study, "Lock for good ...")
    mean_it(admin, study, "Lock")
    assert Study.objects.get(pk=study.pk).status == StudyStatus.LOCKED

    open_report(admin, live_server, study)
    expect(admin.locator("#content")).not_to_contain_text("MODPO")
    admin.get_by_role("link", name="unblind it").click()
    mean_it(admin, study, "Unblind")
    trail = AuditEvent.objects.filter(user__isnull=False).values_list("action", "user__username")
    assert list(trail) == [("study.closed", "admin"), ("study.locked", "admin"), ("study.unblind", "admin")]

    open_report(admin, live_server, study)
    admin.get_by_role("link", name="Outcomes").click()
    expect(admin.locator("#content")).to_contain_text("MODPO")
    assert admin.locator("#content").get_by_text("simulated").first.is_visible()
    figures = admin.locator("#content img")
    expect(figures.first).to_be_visible()
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        expect(figure).to_have_js_property("complete", True)
        assert figure.evaluate("image => image.naturalWidth") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page_of_the_report(admin, live_server, study, scheme):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    study.unblind()
    admin.emulate_media(color_scheme=scheme)
    open_report(admin, live_server, study)
    tabs = admin.get_by_role("navigation", name="Pages of the report").get_by_role("link")
    addresses = [tab.get_attribute("href") for tab in tabs.all()]
    rater = study.raters.filter(kind="clinician").first()
    for address in [*addresses, f"/admin/evaluation/studyreport/{study.pk}/report/rater-{rater.pk}/"]:
        admin.goto(f"{live_server.url}{address}")
        expect(admin.locator(".report-section").first).to_be_visible()
        result = Axe().run(admin, context="#content")
        assert result.violations_count == 0, f"{address}\n{result.generate_report()}"


def test_the_report_is_read_and_filtered_on_a_phone_without_javascript(admin, live_server, study, browser, context):
    page = browser.new_context(
        java_script_enabled=False, viewport={"width": 360, "height": 800}, storage_state=context.storage_state()
    ).new_page()
    page.goto(f"{live_server.url}/admin/evaluation/studyreport/{study.pk}/report/agreement/")
    page.get_by_role("link", name="Open the page with them").click()
    expect(page.get_by_role("heading", name="By criterion")).to_be_visible()
    assert page.locator("#content").bounding_box()["width"] <= 360
    page.get_by_text("Show a part of the study").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Part shown: Raters:")).to_be_visible()
