import re

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.urls import reverse

from annotation.models import Choice, RaterKind, StudyStatus
from evaluation.models import Judge
from tests.evaluation.judged import judged_study, submit
from tests.factories import (
    make_assignment,
    make_comparison,
    make_prompt,
    make_study,
    make_system,
)
from training.models import PreferenceDataset, Run, RunKind

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
def viewer(client, django_user_model):
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_studyreport"))
    client.force_login(user)
    return client


def page_of(study):
    return reverse("admin:evaluation_studyreport_change", args=[study.pk])


def figures_in(response):
    return re.findall(r'<img src="([^"?]+\.svg\?v=\w+)"', response.content.decode())


def test_the_list_shows_status_and_progress(viewer):
    study = judged_study()
    make_assignment(make_comparison(make_prompt(study), *study.systems.all()), study.raters.first())
    response = viewer.get(reverse("admin:evaluation_studyreport_changelist"))
    assert response.status_code == 200
    assert "6 of 7" in response.content.decode()


def test_before_the_lock_nothing_tells_systems_apart(viewer):
    study = judged_study()
    response = viewer.get(page_of(study))
    text = response.content.decode()
    assert "blind until the lock" in text
    assert "Krippendorff alpha" in text
    assert "MODPO" not in text
    assert "better" not in text
    assert "gpt with clinicians" not in text
    (figure,) = figures_in(response)
    assert "agreement.svg" in figure
    assert viewer.get(reverse("admin:evaluation_studyreport_figure", args=[study.pk, "outcomes-1"])).status_code == 404


def test_after_the_lock_outcomes_win_rates_and_judges_are_shown(viewer):
    study = judged_study(locked=True)
    response = viewer.get(page_of(study))
    text = response.content.decode()
    for part in ("MODPO better", "Win rates", "Clinicians&#x27; majorities", "gpt with clinicians", "McNemar"):
        assert part in text
    # Of three prompts the clinicians' majority is level, MODPO, level; the judge says MODPO each time.
    report = response.context["report"]
    rates = {table.source: dict(table.rows) for table in report.findings.rates}
    assert rates["Clinicians' majorities"]["MODPO"][0].value == pytest.approx(1 / 3)
    assert rates["gpt"]["MODPO"][0].value == 1.0
    assert rates["gpt"]["MODPO"][0].n == 3
    (section,) = report.findings.judges
    assert section.check.swap_consistency.value == 1.0
    assert section.rows[0][2]["with_raters"].value == pytest.approx(2 / 3)


def test_every_figure_is_an_svg_that_may_be_kept_but_may_run_nothing(viewer):
    response = viewer.get(page_of(judged_study(locked=True)))
    figures = figures_in(response)
    assert [re.search(r"([\w-]+)\.svg", address)[1] for address in figures] == ["outcomes-1", "agreement"]
    for address in figures:
        figure = viewer.get(address)
        assert figure["Content-Type"] == "image/svg+xml"
        assert "private" in figure["Cache-Control"]
        assert "default-src 'none'" in figure["Content-Security-Policy"]
        assert b"<svg" in figure.content


def test_each_pair_of_systems_has_its_own_outcomes(viewer):
    study = judged_study()
    other = make_system(study, name="DPO")
    first = study.systems.get(name="Base")
    prompt = make_prompt(study)
    submit(make_comparison(prompt, first, other), study.raters.first(), Choice.LEFT)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    pairs = viewer.get(page_of(study)).context["report"].findings.pairs
    assert [(pair.system_a, pair.system_b) for pair in pairs] == [("Base", "MODPO"), ("Base", "DPO")]
    assert pairs[1].rows[0][1].wins.value == 1.0


def test_simulated_raters_and_toy_judges_are_named_on_page_and_figure(viewer):
    study = judged_study(simulated=True, toy=True, locked=True)
    response = viewer.get(page_of(study))
    text = response.content.decode()
    assert "<strong>Simulated.</strong> 2 of 2 clinicians" in text
    assert "<strong>Toy judge.</strong> gpt" in text
    charts = response.context["report"].findings.charts()
    assert all(
        "Simulated clinicians" in chart.data.note and "Simulated clinicians" in chart.caption
        for chart in charts.values()
    )
    assert "Toy judge" in charts["agreement"].data.note


def test_a_judge_that_learned_from_simulated_raters_says_so(viewer):
    study = judged_study(locked=True, participants=1)
    judge = Judge.objects.get(rater__study=study)
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="a", path="p", pairs=1, rankings=1
    )
    run = Run.objects.create(name="rm", kind=RunKind.REWARD_MODEL)
    run.datasets.add(dataset)
    judge.runs.add(run)
    assert "learned from" not in viewer.get(page_of(study)).content.decode().lower()
    dataset.raters.add(study.raters.get(kind=RaterKind.PARTICIPANT))
    response = viewer.get(page_of(study))
    assert "<strong>Learned from simulated raters.</strong> gpt" in response.content.decode()
    chart = response.context["report"].findings.agreement_chart
    assert chart.data.series[1] == "gpt (learned from simulated raters) with clinician"


def test_a_simulated_participant_is_enough_for_the_banner(viewer):
    study = judged_study(locked=True, participants=1)
    assert "1 of 1 participants" in viewer.get(page_of(study)).content.decode()


def test_people_and_real_judges_bring_no_banner(viewer):
    text = viewer.get(page_of(judged_study(locked=True))).content.decode()
    assert "report-banner" not in text


@pytest.mark.parametrize("status", [StudyStatus.OPEN, StudyStatus.CLOSED])
def test_a_study_without_verdicts_has_a_page(viewer, status):
    text = viewer.get(page_of(make_study(status=status))).content.decode()
    assert "No clinician has submitted a verdict yet" in text


def test_a_locked_study_that_nobody_judged_has_a_page(viewer):
    study = make_study()
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    text = viewer.get(page_of(study)).content.decode()
    assert "Nothing has been compared" in text


def test_a_locked_study_that_only_a_judge_judged_has_win_rates(viewer):
    text = viewer.get(page_of(judged_study(clinicians=0, locked=True))).content.decode()
    assert "It judged nothing that clinicians judged" in text
    assert "nan" not in text


def test_a_new_verdict_shows_at_once(viewer):
    study = judged_study()
    before = viewer.get(page_of(study)).context["report"].findings.agreement[0].ratings
    submit(make_comparison(make_prompt(study), *study.systems.all()), study.raters.first(), Choice.TIE)
    assert viewer.get(page_of(study)).context["report"].findings.agreement[0].ratings == before + 1


def queries_of(client, address):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


@pytest.mark.parametrize("warm", [False, True])
def test_the_number_of_queries_does_not_grow_with_the_study(viewer, warm):
    few = judged_study(comparisons=2, clinicians=2, locked=True)
    many = judged_study(comparisons=7, clinicians=4, locked=True)
    if warm:
        for study in (few, many):
            viewer.get(page_of(study))
    assert queries_of(viewer, page_of(few)) == queries_of(viewer, page_of(many)) <= 12


def test_the_list_takes_as_many_queries_for_many_studies(viewer):
    address = reverse("admin:evaluation_studyreport_changelist")
    judged_study(comparisons=1)
    one = queries_of(viewer, address)
    for _ in range(3):
        judged_study(comparisons=1)
    assert queries_of(viewer, address) == one


def test_anonymous_visitors_are_sent_to_the_admins_login(client):
    study = judged_study(locked=True)
    for address in (page_of(study), reverse("admin:evaluation_studyreport_figure", args=[study.pk, "agreement"])):
        response = client.get(address)
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("admin:login"))


def test_clinicians_and_staff_without_the_permission_are_refused(client, django_user_model):
    study = judged_study(locked=True)
    addresses = [page_of(study), reverse("admin:evaluation_studyreport_figure", args=[study.pk, "agreement"])]
    client.force_login(django_user_model.objects.create_user("clinician"))
    assert {client.get(address).status_code for address in addresses} == {302}
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert {client.get(address).status_code for address in addresses} == {403}


def test_a_report_that_is_not_there_is_a_404(viewer):
    assert viewer.get(reverse("admin:evaluation_studyreport_change", args=[9999])).status_code == 404
    assert viewer.get(reverse("admin:evaluation_studyreport_change", args=["none"])).status_code == 404
    study = judged_study()
    assert viewer.get(reverse("admin:evaluation_studyreport_figure", args=[study.pk, "other"])).status_code == 404


def test_reports_are_only_read(viewer):
    study = judged_study()
    assert viewer.post(page_of(study)).status_code == 405
    assert viewer.post(reverse("admin:evaluation_studyreport_figure", args=[study.pk, "agreement"])).status_code == 405
    assert viewer.get(reverse("admin:evaluation_studyreport_add")).status_code == 403
    assert viewer.get(reverse("admin:evaluation_studyreport_delete", args=[study.pk])).status_code == 403


def test_the_page_holds_no_inline_style_or_script(viewer):
    text = viewer.get(page_of(judged_study(locked=True))).content.decode()
    assert "<style" not in text
    assert " style=" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text)
