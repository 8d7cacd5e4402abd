"""Runs in the admin, by keyboard and without JavaScript: two are picked, compared, and one is opened."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.factories import make_participant, make_study
from training.models import PreferenceDataset, Run, RunKind, RunStatus

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

STATISTIC = {"value": 0.75, "low": 0.6, "high": 0.86, "n": 40, "reason": None}


@pytest.fixture
def runs(django_user_model):
    django_user_model.objects.create_superuser("admin", password="a long password")
    study = make_study()
    people = [make_participant(study), make_participant(study, simulated=True)]
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="ab" * 32, path="sets/a", pairs=40, rankings=8
    )
    dataset.raters.set([person.rater for person in people])
    reward = Run.objects.create(name="reward-safety", kind=RunKind.REWARD_MODEL, status=RunStatus.DONE)
    reward.datasets.add(dataset)
    made = []
    for number, kind in enumerate((RunKind.DPO, RunKind.MODPO)):
        curves = {
            "loss": [[step, 0.7 - step * 0.004 * (number + 1) + step % 7 * 0.01] for step in range(1, 61)],
            "eval_loss": [[20, 0.65], [40, 0.6], [60, 0.55 - 0.1 * number]],
            "learning_rate": [[step, 2e-4 * (1 - step / 60)] for step in range(1, 61)],
        }
        run = Run.objects.create(
            name=f"{kind}-empathy",
            kind=kind,
            status=RunStatus.DONE,
            criterion=dataset.criterion,
            config={"criterion": "empathy", "beta": 0.1, "epochs": 2.0 + number},
            metrics={
                "curves": curves,
                "held_out_preference": STATISTIC,
                "learning_curve": [{"pairs": 40, "accuracy": STATISTIC}],
            },
            environment={"git_commit": "0123456789abcdef", "simulated": True},
        )
        run.parents.add(reward)
        made.append(run)
    people[0].rater.withdraw()
    return made


def sign_in(page, live_server):
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("a long password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Studies, training, reports")).to_be_visible()


def test_two_runs_are_compared_by_keyboard_without_javascript(browser, live_server, runs):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/training/run/")
    for run in runs:
        page.get_by_role("checkbox", name=f"- {run.name}").press("Space")
    page.get_by_label("Action:").select_option(label="Compare two runs")
    page.get_by_role("button", name="Go").or_(page.get_by_role("button", name="Run the selected action")).press("Enter")
    expect(page.get_by_role("heading", name="Compare: dpo-empathy and modpo-empathy")).to_be_visible()
    expect(page.get_by_role("row", name="epochs 2 3")).to_be_visible()
    page.get_by_text("2 that are the same").first.press("Enter")
    expect(page.get_by_role("row", name="beta 0.1 0.1")).to_be_visible()
    page.get_by_role("link", name="modpo-empathy").press("Enter")
    expect(page.get_by_role("heading", name="Run: modpo-empathy")).to_be_visible()
    chart = page.get_by_role("img", name="Loss. Training: from")
    expect(chart).to_be_visible()
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing_on_a_run_and_a_comparison_and_neither_scrolls_sideways(
    page, live_server, runs, scheme, width
):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    sign_in(page, live_server)
    first, second = runs
    for address in (f"{second.pk}/change/", f"compare/?a={first.pk}&b={second.pk}"):
        page.goto(f"{live_server.url}/admin/training/run/{address}")
        for details in page.locator("summary").all():
            details.click()
        result = Axe().run(page, context="#content")
        assert result.violations_count == 0, result.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_what_the_list_of_runs_adds_to_the_admins_own(page, live_server, runs, scheme):
    page.emulate_media(color_scheme=scheme)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/training/run/")
    assert page.locator(".run-tainted").count() == 3
    result = Axe().run(page, context="#result_list tbody")
    assert result.violations_count == 0, result.generate_report()
