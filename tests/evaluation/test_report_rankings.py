"""The report's page of rankings: what it shows, of whom, and when it is worked out anew."""

import csv
import io

import pytest
from django.core.cache import caches
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.models import Ranking, Rater, RaterKind, Split
from annotation.participation import skip
from evaluation.report import about, sections, source_of
from evaluation.report_source import Selection
from evaluation.report_tables import csv_of
from tests.factories import make_participant, make_prompt, make_ranking, make_study, make_task

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    caches["reports"].clear()


def ranked_study(*, prompts=2, simulated=(False, False)):
    """On empathy participants rank each prompt's three responses alike; on safety every second one in reverse."""
    study = make_study(criteria=("empathy", "safety"))
    people = [make_participant(study, simulated=one).rater for one in simulated]
    for number in range(prompts):
        prompt = make_prompt(study, responses=3, split=(Split.TRAIN, Split.SCORER)[number % 2])
        for rater in people:
            rank(rater, prompt)
    return study


def rank(rater, prompt, *, keys=("empathy", "safety")):
    task = make_task(rater, prompt)
    shown = list(task.responses.order_by("pk"))
    reverse = {"empathy": False, "safety": task.slot % 2 == 1}
    for criterion in rater.study.criteria.filter(key__in=keys):
        make_ranking(task, criterion, shown[::-1] if reverse[criterion.key] else shown)


def rows_of(study):
    (section,) = sections(source_of(study), "rankings")
    return {name: cells for table in section.tables for name, *cells in table.rows}


def test_agreement_is_told_by_criterion_with_what_it_rests_on():
    found = rows_of(ranked_study())
    assert list(found) == ["Empathy", "Safety"]
    assert found["Empathy"][:3] == found["Safety"][:3] == [2, 2, 4]
    assert [cell.value for cell in found["Empathy"][3:]] == [1, 0.5, 1]
    assert [cell.value for cell in found["Safety"][3:]] == [0, 0.5, -1]
    assert found["Empathy"][3].n == 2


def test_the_chart_holds_w_against_that_of_chance():
    (section,) = sections(source_of(ranked_study()), "rankings")
    (chart,) = section.charts
    assert [[cell.value for cell in cells] for _, cells in chart.data.rows] == [[1, 0.5], [0, 0.5]]
    assert "n = 8 rankings by 2 participants, 2 prompts" in chart.caption
    assert "Empathy: W 1.00, at random 0.50" in chart.alt


def test_rankings_by_one_participant_alone_say_why_there_is_no_agreement():
    found = rows_of(ranked_study(simulated=[False]))
    assert {cell.reason for cells in found.values() for cell in cells[3:]} == {
        "no two raters ranked the same responses of a prompt and told them apart"
    }


@pytest.mark.parametrize(
    ("simulated", "said"), [((True, True), "these rankings."), ((True, False), "these rankings (1 of 2).")]
)
def test_simulated_participants_are_named_on_figure_table_and_in_every_exported_row(simulated, said):
    source = source_of(ranked_study(simulated=simulated))
    (section,) = sections(source, "rankings")
    (chart,), (table,) = section.charts, section.tables
    said = f"Simulated participants: no person stands behind {said}"
    assert chart.caption.endswith(said)
    assert table.caption.endswith(said)
    assert said.removesuffix(".") in chart.data.note
    rows = list(csv.DictReader(io.StringIO(csv_of(table, about(source, "rankings")), newline="")))
    assert {row["caution"] for row in rows} == {said.removesuffix(".")}


def test_people_bring_no_caution():
    assert about(source := source_of(ranked_study()), "rankings")["caution"] == ""
    assert "imulated" not in repr(sections(source, "rankings"))


def test_models_drafts_and_skipped_posts_are_left_out():
    study = ranked_study()
    before = rows_of(study)
    first, second = study.prompts.order_by("pk")
    rank(Rater.objects.create(study=study, kind=RaterKind.JUDGE, name="imported-persona"), first)
    other = make_participant(study).rater
    rank(other, second, keys=["empathy"])
    skip(other.ranking_tasks.get())
    Ranking.objects.create(task=make_task(make_participant(study).rater, first), criterion=study.criteria.first())
    assert rows_of(study) == before


def test_a_ranking_shows_at_once_and_so_does_its_withdrawal():
    study = ranked_study()
    before = rows_of(study)
    rater = make_participant(study).rater
    rank(rater, study.prompts.first())
    assert rows_of(study)["Empathy"][1:3] == [3, 5]
    rater.withdraw()
    assert rows_of(study) == before


def test_a_ranking_that_is_submitted_again_shows_at_once():
    study = ranked_study(prompts=1)
    assert rows_of(study)["Empathy"][3].value == 1
    ranking = Ranking.objects.filter(criterion__key="empathy").first()
    ranking.submit(list(ranking.task.responses.order_by("-pk")))
    assert rows_of(study)["Empathy"][3].value == 0


@pytest.mark.parametrize("part", [Selection(stratum="long"), Selection(raters=("C-1",))])
def test_of_a_part_of_the_verdicts_nothing_is_told_but_why(part):
    (section,) = sections(source_of(ranked_study(), part), "rankings")
    assert section.is_empty
    assert "of the whole study alone" in section.empty


def test_a_study_without_rankings_says_so():
    (section,) = sections(source_of(make_study()), "rankings")
    assert section.is_empty
    assert section.empty == "No participant has submitted a ranking yet."


def test_rankings_are_read_in_one_query_however_many():
    def queries(study):
        with CaptureQueriesContext(connection) as captured:
            sections(source_of(study), "rankings")
        return len(captured), sum("annotation_rankedresponse" in query["sql"] for query in captured)

    few = queries(ranked_study())
    assert queries(ranked_study(prompts=5, simulated=[False] * 4)) == few
    assert few[1] == 1
