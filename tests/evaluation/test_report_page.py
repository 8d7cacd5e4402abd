"""The report's pages: what they show, to whom, of which part of the study."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import caches
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotation import protection
from annotation.models import Choice, FlagKind, SafetyFlag, Side, StudyStatus, Verdict
from evaluation.models import Judge
from tests.evaluation.judged import judged_study, submit
from tests.factories import make_assignment, make_comparison, make_participant, make_prompt, make_study, make_system
from training.models import PreferenceDataset, Run, RunKind

pytestmark = pytest.mark.django_db

PAGES = ("overview", "outcomes", "agreement", "confusion", "raters", "position", "rankings", "disagreements", "flags")


@pytest.fixture(autouse=True)
def _empty_cache():
    caches["reports"].clear()


@pytest.fixture
def viewer(client, django_user_model):
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_studyreport"))
    client.force_login(user)
    return client


def page_of(study, slug="overview"):
    return reverse("admin:evaluation_studyreport_page", args=[study.pk, slug])


def opened(client, study, slug="overview", **asked):
    """The page with its numbers."""
    response = client.get(page_of(study, slug), {"compute": 1, **asked})
    assert response.status_code == 200
    return response


def text_of(client, study, slug="overview", **asked):
    return opened(client, study, slug, **asked).content.decode()


def table_in(response, name):
    return next(t for section in response.context["sections"] for t in section.tables if t.name == name)


def charts_in(response):
    return [chart for section in response.context["sections"] for chart in section.charts]


def figures_in(response):
    return re.findall(r'<img src="([^"]+)"', response.content.decode())


def test_the_list_shows_status_and_progress(viewer):
    study = judged_study()
    make_assignment(make_comparison(make_prompt(study), *study.systems.all()), study.raters.first())
    response = viewer.get(reverse("admin:evaluation_studyreport_changelist"))
    assert response.status_code == 200
    assert "6 of 7" in response.content.decode()


def test_the_report_opens_with_its_overview(viewer):
    study = judged_study(unblinded=True)
    response = viewer.get(reverse("admin:evaluation_studyreport_change", args=[study.pk]), {"compute": 1})
    text = response.content.decode()
    assert "2 clinicians agree with one another on a share of" in text
    assert "Progress" in text
    assert [chart.name for chart in charts_in(response)] == ["outcomes-1", "agreement"]


def test_a_page_answers_before_its_numbers_are_there_and_asks_for_them(viewer):
    study = judged_study(unblinded=True)
    first = viewer.get(page_of(study, "outcomes"))
    assert "The numbers are being worked out" in first.content.decode()
    assert f'hx-get="{page_of(study, "outcomes")}"' in first.content.decode()
    part = viewer.get(page_of(study, "outcomes"), headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div class="report-findings">')
    assert "MODPO better" in part
    assert "<html" not in part
    assert "MODPO better" in viewer.get(page_of(study, "outcomes")).content.decode()


def test_what_was_computed_outlives_the_process(viewer, settings):
    text_of(viewer, study := judged_study(unblinded=True), "agreement")
    assert settings.CACHES["reports"]["BACKEND"].endswith("FileBasedCache")
    assert "being worked out" not in viewer.get(page_of(study, "agreement")).content.decode()


@pytest.mark.parametrize("slug", PAGES)
def test_every_page_of_an_unblinded_study_opens(viewer, slug):
    study = judged_study(comparisons=4, clinicians=3, unblinded=True)
    response = opened(viewer, study, slug)
    assert f'aria-current="page">{response.context["pages"].mapping[slug].title}' in response.content.decode()
    for address in figures_in(response):
        assert b"<svg" in viewer.get(address).content


def test_outcomes_show_verdicts_majorities_and_corrected_tests(viewer):
    response = opened(viewer, judged_study(unblinded=True), "outcomes")
    every, majority = table_in(response, "verdicts-1"), table_in(response, "majorities-1")
    assert every.columns == ("Criterion", "Base better", "Tie", "MODPO better")
    # Of three prompts two are split and one goes to MODPO: 4 of 6 verdicts; the majority is level, MODPO, level.
    assert [cell.value for cell in every.rows[0][1:]] == pytest.approx([2 / 6, 0, 4 / 6])
    assert [cell.value for cell in majority.rows[0][1:4]] == pytest.approx([0, 2 / 3, 1 / 3])
    assert [cell.value for cell in majority.rows[0][4:]] == [1.0, 1.0]
    rates = table_in(response, "win-rates-clinicians")
    assert rates.rows[1][0] == "MODPO"
    assert rates.rows[1][1].value == pytest.approx(1 / 3)


def test_each_pair_of_systems_has_its_own_outcomes(viewer):
    study = judged_study()
    other = make_system(study, name="DPO")
    submit(
        make_comparison(make_prompt(study), study.systems.get(name="Base"), other), study.raters.first(), Choice.LEFT
    )
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    study.unblind()
    titles = [section.title for section in opened(viewer, study, "outcomes").context["sections"]]
    assert titles[:2] == ["Base and MODPO", "Base and DPO"]


def test_three_systems_have_strengths(viewer):
    study = judged_study(comparisons=4)
    base, _ = study.systems.order_by("pk")
    other = make_system(study, name="DPO")
    rater = study.raters.filter(kind="clinician").first()
    for choice in (Choice.LEFT, Choice.RIGHT, Choice.TIE):
        submit(make_comparison(make_prompt(study), base, other), rater, choice)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    study.unblind()
    rows = table_in(opened(viewer, study, "outcomes"), "strengths-clinicians").rows
    assert [row[0] for row in rows] == ["Base", "MODPO", "DPO", "Chance of a tie between equals"]
    strengths = [row[1].value for row in rows[:3]]
    assert sum(strengths) == pytest.approx(0, abs=1e-9)
    assert strengths[1] > strengths[0]
    # DPO and Base won one each.
    assert strengths[2] == pytest.approx(strengths[0])


def test_agreement_stands_with_the_judge_beside_the_clinicians_and_the_tests_verdict_in_a_sentence(viewer):
    study = judged_study(comparisons=30, unblinded=True)
    response = opened(viewer, study, "agreement")
    judge = study.raters.get(name="gpt")
    beside = table_in(response, f"beside-{judge.pk}")
    assert beside.rows[0][0] == "Empathy"
    # Half of the pairs split the two clinicians, half do not.
    assert beside.rows[0][1].value == pytest.approx(0.5)
    assert beside.rows[0][2].value == pytest.approx(0.75)
    text = response.content.decode()
    assert "By the alternative annotator test gpt may stand in for a clinician, all criteria pooled" in text
    assert "epsilon = 0.2, after Benjamini-Yekutieli" in text
    assert "By criterion it passes on Empathy, Safety." in text


def test_a_test_that_cannot_be_made_says_why(viewer):
    text = text_of(viewer, judged_study(unblinded=True), "agreement")
    assert "Whether gpt may stand in for a clinician cannot be tested: no rater shares 30 items" in text


def test_confusion_counts_the_judge_against_the_majority_and_clinicians_against_each_other(viewer):
    study = judged_study(comparisons=4, unblinded=True)
    response = opened(viewer, study, "confusion")
    judge = study.raters.get(name="gpt")
    counts = {name: rest for name, *rest in table_in(response, f"confusion-{judge.pk}-counts").rows}
    # On two of four pairs the majority is level; on the others clinicians and judge name MODPO, which is B.
    assert counts["Empathy"] == [0, 0, 0, 0, 0, 0, 0, 0, 2, 2]
    (pair,) = table_in(response, "confusion-pairs").rows
    assert pair[1:] == (0, 0, 4, 0, 0, 0, 0, 0, 4, 8)
    assert "A: Base, B: MODPO" in response.content.decode()


def test_many_clinicians_are_held_against_all_the_others(viewer):
    response = opened(viewer, judged_study(comparisons=1, clinicians=8, unblinded=True), "confusion")
    panels = next(chart for chart in charts_in(response) if chart.name == "confusion-raters").data.panels
    assert len(panels) == 8
    assert {panel.total for panel in panels} == {14}
    assert len(table_in(response, "confusion-pairs").rows) == 28


def test_a_clinician_has_a_page_of_times_sides_and_drift(viewer):
    study = judged_study(comparisons=6, unblinded=True)
    rater = study.raters.filter(kind="clinician").first()
    raters = opened(viewer, study, "raters")
    assert f'href="../rater-{rater.pk}/"' in raters.content.decode()
    response = opened(viewer, study, f"rater-{rater.pk}")
    measures = dict(table_in(response, "profile").rows)
    assert measures["Agreement with the rest"].value == pytest.approx(0.5)
    assert measures["Left"].reason == "no verdict chose a side with A on the left, or none with B there"
    assert measures["Ties"].value == 0
    assert measures["Median seconds"].reason == "no times were recorded"
    assert len(table_in(response, "drift").rows) == 5
    assert viewer.get(page_of(study, f"rater-{study.raters.get(name='gpt').pk}")).status_code == 404


def test_clinicians_are_held_against_themselves_on_pairs_seen_twice(viewer):
    study = judged_study(comparisons=2)
    assert "No clinician has seen a pair twice." in text_of(viewer, study, "raters")
    rater = study.raters.filter(kind="clinician").first()
    same, other = study.comparisons.order_by("pk")
    # At first sight it chose left of one pair and right of the other, with the first system on the left.
    submit(same, rater, Choice.RIGHT, a_on_left=False, presentation=2)
    submit(other, rater, Choice.RIGHT, a_on_left=False, presentation=2)
    rows = {name: first for name, first, *_ in table_in(opened(viewer, study, "raters"), "within-raters").rows}
    assert (rows[rater.name].value, rows[rater.name].n) == (0.5, 4)
    assert {first.value for name, first in rows.items() if name != rater.name} == {None}


def test_position_bias_shows_clinicians_and_judges(viewer):
    study = judged_study(unblinded=True)
    response = opened(viewer, study, "position")
    assert len(table_in(response, "left").rows) == 3
    (row,) = table_in(response, "swap-consistency").rows
    assert (row[0], row[1].value, row[2].value, row[3]) == ("gpt", 0.5, 1.0, 0)


def test_disagreements_are_read_with_texts_votes_reasons_and_flags(viewer):
    study = judged_study(comparisons=1)
    first, second = study.raters.filter(kind="clinician")
    comparison = make_comparison(make_prompt(study), *study.systems.order_by("pk"))
    assignment = make_assignment(comparison, first)
    assignment.explain("It asks nothing.")
    SafetyFlag.objects.create(assignment=assignment, side=Side.LEFT, kind=FlagKind.RISK_MISSED, note="The pills")
    assignment.submit(dict.fromkeys(study.criteria.all(), Choice.LEFT))
    submit(comparison, second, Choice.RIGHT)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    study.unblind()
    response = opened(viewer, study, "disagreements")
    readings = response.context["readings"]
    assert [reading.disagreement for reading in readings] == [1.0, 1.0]
    assert readings[0].splits[0] == ("Empathy", "Base 1, tie 0, MODPO 1")
    text = response.content.decode()
    assert "It asks nothing." in text
    assert "overlooks a risk of harm: The pills" in text
    flags = opened(viewer, study, "flags")
    assert table_in(flags, "flags").columns == ("Kind", "Base")
    assert flags.context["flagged"][0].texts[0].text == assignment.left.text


def test_disagreements_come_in_pages(viewer):
    study = judged_study(comparisons=24, unblinded=True)
    first = opened(viewer, study, "disagreements")
    second = opened(viewer, study, "disagreements", page=2)
    items = [[r.comparison.pk for r in response.context["readings"]] for response in (first, second)]
    assert [len(page) for page in items] == [10, 2]
    assert not set(items[0]) & set(items[1])
    assert "?page=2" in first.content.decode()


def test_what_could_not_be_judged_counts_on_the_raters_page_alone(viewer):
    study = judged_study(comparisons=2)
    rater = study.raters.filter(kind="clinician").first()
    submit(make_comparison(make_prompt(study), *study.systems.all()), rater, Choice.CANNOT)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    study.unblind()
    measures = dict(table_in(opened(viewer, study, f"rater-{rater.pk}"), "profile").rows)
    assert measures["Cannot judge"].value == pytest.approx(1 / 3)
    assert table_in(opened(viewer, study, "outcomes"), "verdicts-1").rows[0][1].n == 4


@pytest.fixture
def split_study():
    """Two pairs of a stratum, one of another."""
    study = judged_study()
    for number, comparison in enumerate(study.comparisons.all()):
        comparison.stratum = ("long", "short")[number // 2]
        comparison.save()
    return study


def test_a_part_is_chosen_by_stratum_and_raters_and_named_wherever_it_shows(viewer, split_study):
    study = split_study
    assert table_in(opened(viewer, study, "agreement"), "among-clinicians").rows[0][3] == 6
    response = opened(viewer, study, "agreement", stratum="long")
    table = table_in(response, "among-clinicians")
    assert table.rows[0][3] == 4
    assert "Stratum: long" in table.caption
    assert all("Stratum: long" in chart.caption and "Stratum: long" in chart.data.note for chart in charts_in(response))
    assert "agreement.svg?stratum=long" in response.content.decode()
    one = study.raters.filter(kind="clinician").first().name
    alone = opened(viewer, study, "raters", raters=[one])
    assert [row[0] for row in table_in(alone, "raters").rows] == [one]
    assert f"Raters: {one}" in table_in(alone, "raters").caption


def test_agreement_is_told_by_stratum(viewer, split_study):
    table = table_in(opened(viewer, split_study, "agreement"), "strata")
    assert [row[:2] for row in table.rows] == [("long", 8), ("short", 4)]


@pytest.mark.parametrize("asked", [{"stratum": "none such"}, {"raters": "nobody"}])
def test_a_part_that_is_not_there_is_refused(viewer, asked):
    study = judged_study(unblinded=True)
    response = viewer.get(page_of(study), asked)
    assert response.status_code == 422
    assert "There is no such part of the study" in response.content.decode()
    figure = reverse("admin:evaluation_studyreport_figure_svg", args=[study.pk, "agreement", "agreement"])
    assert viewer.get(figure, asked).status_code == 404


def test_simulated_raters_and_toy_judges_are_named_on_page_figure_and_table(viewer):
    study = judged_study(simulated=True, toy=True, unblinded=True)
    response = opened(viewer, study, "agreement")
    text = response.content.decode()
    assert "<strong>Simulated.</strong> 2 of 2 clinicians" in text
    assert "<strong>Toy judge.</strong> gpt" in text
    (chart,) = charts_in(response)
    for words in (chart.caption, chart.data.note, table_in(response, "symmetry-pairs").caption):
        assert "Simulated clinicians" in words
    assert "Toy judge" in chart.data.note
    assert chart.data.series[1] == "gpt (toy judge) with clinician"


def test_a_judge_that_learned_from_simulated_raters_says_so(viewer):
    study = judged_study(participants=1, unblinded=True)
    judge = Judge.objects.get(rater__study=study)
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="a", path="p", pairs=1, rankings=1
    )
    run = Run.objects.create(name="rm", kind=RunKind.REWARD_MODEL)
    run.datasets.add(dataset)
    with protection.lifted():
        judge.runs.add(run)
    assert "learned from" not in text_of(viewer, study, "agreement").lower()
    dataset.raters.add(study.raters.get(kind="participant"))
    response = opened(viewer, study, "agreement")
    assert "<strong>Learned from simulated raters.</strong> gpt" in response.content.decode()
    assert charts_in(response)[0].data.series[1] == "gpt (learned from simulated raters) with clinician"


def test_a_simulated_participant_is_enough_for_the_banner(viewer):
    study = judged_study()
    make_participant(study, simulated=True)
    assert "1 of 1 participants" in text_of(viewer, study)


def test_people_and_real_judges_bring_no_banner(viewer):
    assert "report-banner" not in text_of(viewer, judged_study(unblinded=True))


@pytest.mark.parametrize("slug", ["overview", "agreement", "raters", "position", "rankings", "disagreements", "flags"])
@pytest.mark.parametrize("status", [StudyStatus.OPEN, StudyStatus.CLOSED])
def test_a_study_without_verdicts_has_pages(viewer, slug, status):
    # As a word: the form's token is any letters.
    assert not re.search(r"\bnan\b", text_of(viewer, make_study(status=status), slug))


@pytest.mark.parametrize("slug", PAGES)
def test_an_unblinded_study_that_nobody_or_only_a_judge_judged_has_pages(viewer, slug):
    nobody = make_study()
    nobody.advance(StudyStatus.CLOSED)
    nobody.advance(StudyStatus.LOCKED)
    nobody.unblind()
    text_of(viewer, nobody, slug)
    text_of(viewer, judged_study(clinicians=0, unblinded=True), slug)


def test_a_new_verdict_shows_at_once(viewer):
    study = judged_study()
    before = table_in(opened(viewer, study, "agreement"), "among-clinicians").rows[0][3]
    submit(make_comparison(make_prompt(study), *study.systems.all()), study.raters.first(), Choice.TIE)
    assert table_in(opened(viewer, study, "agreement"), "among-clinicians").rows[0][3] == before + 1


def test_a_new_flag_shows_at_once(viewer):
    study = judged_study()
    assert "No clinician raised a flag." in text_of(viewer, study, "flags")
    pending = make_assignment(make_comparison(make_prompt(study), *study.systems.all()), study.raters.first())
    SafetyFlag.objects.create(assignment=pending, side=Side.RIGHT, kind=FlagKind.FALSE, note="No such helpline")
    response = opened(viewer, study, "flags")
    assert "No such helpline" in response.content.decode()
    assert ("States something false", 1) in table_in(response, "flags").rows


def queries_of(client, study, slug, **asked):
    with CaptureQueriesContext(connection) as queries:
        assert client.get(page_of(study, slug), asked).status_code == 200
    return len(queries)


@pytest.mark.parametrize("slug", PAGES)
@pytest.mark.parametrize("warm", [False, True])
def test_the_number_of_queries_does_not_grow_with_the_study(viewer, slug, warm):
    few = judged_study(comparisons=3, clinicians=2, unblinded=True)
    many = judged_study(comparisons=7, clinicians=4, unblinded=True)
    if warm:
        for study in (few, many):
            opened(viewer, study, slug)
    asked = {} if warm else {"compute": 1}
    assert queries_of(viewer, few, slug, **asked) == queries_of(viewer, many, slug, **asked) <= 25


def test_the_list_takes_as_many_queries_for_many_studies(viewer):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            viewer.get(reverse("admin:evaluation_studyreport_changelist"))
        return len(captured)

    judged_study(comparisons=1)
    one = queries()
    for _ in range(3):
        judged_study(comparisons=1)
    assert queries() == one


def addresses_of(study):
    yield reverse("admin:evaluation_studyreport_change", args=[study.pk])
    yield from (page_of(study, slug) for slug in PAGES)
    yield reverse("admin:evaluation_studyreport_figure_svg", args=[study.pk, "agreement", "agreement"])
    yield reverse("admin:evaluation_studyreport_table_csv", args=[study.pk, "agreement", "among-clinicians"])
    yield reverse("admin:evaluation_studyreport_whole", args=[study.pk])


def test_anonymous_visitors_are_sent_to_a_login(client):
    for address in addresses_of(judged_study(unblinded=True)):
        response = client.get(address)
        assert response.status_code == 302, address
        assert "login" in response["Location"] or "sign-in" in response["Location"]


def test_clinicians_and_staff_without_the_permission_are_refused(client, django_user_model):
    addresses = list(addresses_of(judged_study(unblinded=True)))
    client.force_login(django_user_model.objects.create_user("clinician"))
    assert {client.get(address).status_code for address in addresses} == {302}
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert {client.get(address).status_code for address in addresses} == {403}


def test_a_report_page_figure_or_table_that_is_not_there_is_a_404(viewer):
    study = judged_study(unblinded=True)
    assert viewer.get(reverse("admin:evaluation_studyreport_change", args=[9999])).status_code == 404
    assert viewer.get(reverse("admin:evaluation_studyreport_change", args=["none"])).status_code == 404
    assert viewer.get(page_of(study, "elsewhere")).status_code == 404
    for kind in ("figure_svg", "figure_pdf", "table_csv", "table_tex"):
        for where in (("agreement", "other"), ("elsewhere", "agreement")):
            address = reverse(f"admin:evaluation_studyreport_{kind}", args=[study.pk, *where])
            assert viewer.get(address).status_code == 404


def test_reports_are_only_read_and_never_stored(viewer):
    study = judged_study(unblinded=True)
    for address in addresses_of(study):
        assert viewer.post(address).status_code == 405
        response = viewer.get(address)
        assert {"no-store", "private"} <= set(re.split(r",\s*", response["Cache-Control"]))
    before = Verdict.objects.count()
    assert viewer.get(reverse("admin:evaluation_studyreport_add")).status_code == 403
    assert viewer.get(reverse("admin:evaluation_studyreport_delete", args=[study.pk])).status_code == 403
    assert Verdict.objects.count() == before


@pytest.mark.parametrize("slug", PAGES)
def test_no_page_holds_inline_style_or_script(viewer, slug):
    text = text_of(viewer, judged_study(unblinded=True), slug)
    assert "<style" not in text
    assert " style=" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text)
