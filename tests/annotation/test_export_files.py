import csv
import io

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Response
from tests.factories import make_prompt, make_response, make_study, make_system

pytestmark = pytest.mark.django_db
AWKWARD = 'She said "no",\nthen left; é, 眠れない'


@pytest.fixture
def study():
    study = make_study(slug="pilot")
    base, modpo = make_system(study, name="Base"), make_system(study, name="MODPO")
    for key, split in (("q1", "train"), ("q2", "test")):
        prompt = make_prompt(study, key=key, split=split, text=f"{AWKWARD} {key}")
        make_response(prompt, base, text=f"Base on {key}, {AWKWARD}")
        make_response(prompt, modpo, text=f"MODPO on {key}")
    return study


def export(capsys, command, *options):
    capsys.readouterr()
    call_command(command, "--study", "pilot", *options)
    return capsys.readouterr().out


def test_prompts_are_written_as_csv_with_line_feeds(study, capsys):
    written = export(capsys, "export_prompts", "--split", "test")
    assert written == 'question_id,question_text\nq2,"She said ""no"",\nthen left; é, 眠れない q2"\n'
    assert len(list(csv.reader(io.StringIO(export(capsys, "export_prompts"))))) == 3


def test_responses_come_in_both_of_the_authors_formats(study, capsys):
    rows = list(csv.DictReader(io.StringIO(export(capsys, "export_responses", "--system", "MODPO"))))
    assert [row["response_id"] for row in rows] == ["q1-MODPO-1", "q2-MODPO-1"]
    rows = list(csv.DictReader(io.StringIO(export(capsys, "export_responses", "--format", "evaluation"))))
    assert list(rows[0]) == ["question_id", "question_text", "response_text", "model_name"]
    assert [row["model_name"] for row in rows] == ["Base", "MODPO"] * 2
    assert len(export(capsys, "export_responses", "--split", "train", "--system", "MODPO").splitlines()) == 3


def test_what_is_exported_imports_again_unchanged(study, capsys, tmp_path):
    before = sorted(Response.objects.values_list("prompt__key", "key", "text"))
    exported = tmp_path / "all.csv"
    exported.write_text(export(capsys, "export_responses"), encoding="utf-8", newline="")
    Response.objects.all().delete()
    call_command("import_responses", str(exported), "--study", "pilot", "--system", "Base")
    assert sorted(Response.objects.values_list("prompt__key", "key", "text")) == before


def test_an_unknown_study_or_system_is_named(study):
    with pytest.raises(CommandError, match=r"--system Nobody: there is no such system \(there are: Base, MODPO\)"):
        call_command("export_responses", "--study", "pilot", "--system", "Nobody")
    with pytest.raises(CommandError, match="--study none: there is no such study"):
        call_command("export_prompts", "--study", "none")
