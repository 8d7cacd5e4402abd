"""Figures, tables and the PDF of a report as files."""

import csv
import io
import re

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotation.models import StudyStatus
from evaluation.report import pages, rater_of, sections, source_of
from evaluation.report_pdf import content, pdf_of
from evaluation.report_tables import csv_of, latex_of
from tests.evaluation.judged import judged_study

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    caches["reports"].clear()


@pytest.fixture
def team(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("team"))
    return client


def address(study, kind, slug, name):
    return reverse(f"admin:evaluation_studyreport_{kind}", args=[study.pk, slug, name])


def test_a_figure_comes_as_svg_and_pdf_and_may_run_nothing(team):
    study = judged_study(unblinded=True)
    for kind, start in (("figure_svg", b"<?xml"), ("figure_pdf", b"%PDF")):
        response = team.get(address(study, kind, "outcomes", "outcomes-1"))
        assert response.content.startswith(start)
        assert "default-src 'none'" in response["Content-Security-Policy"]
        end = kind.removeprefix("figure_")
        assert f'filename="{study.slug}-outcomes-outcomes-1.{end}"' in response["Content-Disposition"]


def test_a_table_comes_as_csv_with_everything_that_a_row_needs(team):
    study = judged_study(simulated=True, unblinded=True)
    response = team.get(address(study, "table_csv", "outcomes", "verdicts-1"))
    rows = list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))
    assert [row["Criterion"] for row in rows] == ["Empathy", "Safety"]
    row = rows[0]
    assert float(row["MODPO better"]) == pytest.approx(2 / 3)
    assert float(row["MODPO better, low"]) <= 2 / 3 <= float(row["MODPO better, high"])
    assert row["MODPO better, n"] == "6"
    assert (row["study"], row["stratum"], row["raters"]) == (study.slug, "all", "all")
    assert "no person stands behind these verdicts" in row["caution"]
    assert row["data_sha256"] == study.data_sha256


def test_every_table_of_every_page_is_good_csv_and_latex():
    study = judged_study(comparisons=4, clinicians=3, systems=("A & B_1", "50 % {x} #2"), unblinded=True)
    source = source_of(study)
    rater = next(f"rater-{row.pk}" for row in source.clinicians)
    assert rater_of(source, rater)
    tables = [table for slug in (*pages(source), rater) for part in sections(source, slug) for table in part.tables]
    assert len(tables) >= 15
    for table in tables:
        rows = list(csv.reader(io.StringIO(csv_of(table, {"study": study.slug}), newline="")))
        assert {len(row) for row in rows} == {len(rows[0])}, table.name
        check_latex(latex_of(table, {"study": study.slug}), len(table.columns))


def check_latex(text, columns):
    """Braces balance, nothing special stands unescaped, every row has as many cells."""
    code = re.sub(r"(?m)^%.*$", "", text).replace("{%", "{").replace(r"\\", "")
    bare = re.sub(r"\\[{}]", "", code)
    assert bare.count("{") == bare.count("}")
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}
    assert not re.search(r"(?<!\\)[%#_$]", body)


def test_a_part_says_so_in_the_name_of_its_files(team):
    study = judged_study()
    name = study.raters.filter(kind="clinician").first().name
    response = team.get(address(study, "table_csv", "raters", "raters"), {"raters": name})
    assert f'filename="{study.slug}-raters-raters-blind-part.csv"' in response["Content-Disposition"]
    (row,) = csv.DictReader(io.StringIO(response.content.decode(), newline=""))
    assert row["raters"] == row["Clinician"] == name


def test_the_report_is_one_pdf_that_says_its_title_and_language(team):
    study = judged_study(unblinded=True)
    response = team.get(reverse("admin:evaluation_studyreport_whole", args=[study.pk]))
    assert response["Content-Type"] == "application/pdf"
    assert response.content.startswith(b"%PDF")
    assert re.search(rb"/Lang ?\(en", response.content)
    assert b"/MarkInfo" in response.content
    assert f'filename="{study.slug}-report.pdf"' in response["Content-Disposition"]


def test_the_pdf_holds_hash_versions_methods_and_every_table_and_figure(tmp_path):
    source = source_of(judged_study(simulated=True, toy=True, unblinded=True))
    found = content(source, tmp_path)
    assert ("Data, SHA-256", source.study.data_sha256) in found["facts"]
    assert len(source.study.data_sha256) == 64
    assert {"Attune", "Python", "Django", "numpy", "typst"} <= {name for name, _ in found["software"]}
    words = " ".join(text for method in found["methods"] for text in method)
    assert "2,000 resamples and seed 0" in words
    assert "Benjamini-Yekutieli" in words
    assert "{" not in words
    assert found["cautions"][0].startswith("Simulated: 2 of 2 clinicians")
    titles = [chapter["title"] for chapter in found["chapters"]]
    assert titles[:6] == ["Outcomes", "Agreement", "Confusion", "Raters", "Position bias", "Rankings"]
    figures = [
        figure["file"] for chapter in found["chapters"] for part in chapter["sections"] for figure in part["figures"]
    ]
    assert sorted(figures) == sorted(path.name for path in tmp_path.iterdir())


def test_a_lock_makes_a_new_pdf():
    study = judged_study()
    before = pdf_of(source_of(study))
    assert pdf_of(source_of(study)) == before
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    assert pdf_of(source_of(study)) != before


def test_a_text_that_looks_like_markup_is_printed_as_it_is():
    study = judged_study(systems=("#set text(red)", "*bold* $x$ @ref \\"), unblinded=True)
    assert pdf_of(source_of(study)).startswith(b"%PDF")


def test_the_command_writes_the_report(tmp_path, capsys):
    study = judged_study(unblinded=True)
    output = tmp_path / "report.pdf"
    call_command("report", "--study", study.slug, "--output", str(output))
    assert output.read_bytes().startswith(b"%PDF")
    assert f"report of study {study.slug}, unblinded" in capsys.readouterr().out
    call_command("report", "--study", study.slug, "--output", str(output), "--blind")
    assert "blind" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["report.pdf"]


def test_the_command_is_blind_where_the_study_is(tmp_path, capsys):
    study = judged_study(locked=True)
    call_command("report", "--study", study.slug, "--output", str(tmp_path / "report.pdf"))
    assert capsys.readouterr().out.strip().endswith(", blind")


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path):
    study = judged_study()
    with pytest.raises(CommandError, match="is not there; make it first"):
        call_command("report", "--study", study.slug, "--output", str(tmp_path / "none" / "report.pdf"))
