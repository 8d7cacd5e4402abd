"""What every command does with what goes wrong."""

import os
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError

from annotation.errors import InputError
from annotation.files import read_json_lines
from annotation.options import keyed, keyed_numbers


def test_a_database_that_fails_is_one_line(monkeypatch):
    def full(*args, **kwargs):
        raise OperationalError("database or disk is full\nat 0x0")

    monkeypatch.setattr("annotation.command.StudyCommand.study", full)
    with pytest.raises(
        CommandError, match=r"the database failed: database or disk is full \(is its disk full"
    ) as caught:
        call_command("export_prompts", "--study=pilot", "--split=test")
    assert "\n" not in str(caught.value)


def test_a_value_that_the_database_refuses_is_one_line(monkeypatch):
    def too_long(*args, **kwargs):
        raise DataError("value too long for type character varying(80)\n")

    monkeypatch.setattr("annotation.command.StudyCommand.study", too_long)
    with pytest.raises(CommandError, match=r"^the database refused: value too long for type character varying\(80\)$"):
        call_command("export_prompts", "--study=pilot", "--split=test")


def test_a_file_in_the_place_of_a_folder_is_one_line(monkeypatch):
    def no_folder(*args, **kwargs):
        raise NotADirectoryError(20, "Not a directory", "posts.csv/x")

    monkeypatch.setattr("annotation.command.StudyCommand.study", no_folder)
    with pytest.raises(CommandError, match=r"^posts.csv/x: Not a directory$"):
        call_command("export_prompts", "--study=pilot", "--split=test")


def test_json_that_is_nested_without_end_is_one_line(tmp_path):
    file = tmp_path / "deep.jsonl"
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"deep.jsonl, row 1: nested more deeply than any data are"):
        read_json_lines(file)


@pytest.mark.parametrize(
    ("url", "message"), [("mysql://a/b", "DATABASE_URL must be postgres://"), ("foo", "DATABASE_URL must be"), ("", "")]
)
def test_a_database_that_is_not_ours_is_told_in_a_line_and_an_empty_one_is_none(url, message):
    environment = {**os.environ, "DATABASE_URL": url}
    done = subprocess.run([sys.executable, "manage.py", "check"], env=environment, capture_output=True, text=True)
    assert (done.returncode, message in done.stderr) == (1 if message else 0, True)
    assert len(done.stderr.splitlines()) == bool(message)


LONG = "n" * 400


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (f"design_clinician_study --study s --name {LONG} --system A --prompts 1", "400 characters, at most 60 fit"),
        ("design_clinician_study --study s --name a/b --system A --prompts 1", "'a/b' may hold only letters"),
        (f"load_study fixtures/demo --slug {LONG}", "400 characters, at most 50 fit"),
        (f"load_study fixtures/demo --title {LONG}", "400 characters, at most 200 fit"),
        (f"judge --study s --name {LONG} --endpoint http://x --model m", "400 characters, at most 80 fit"),
        (f"generate_responses --study s --system {LONG} --split test --per-prompt 1", "at most 80 fit"),
        (f"train_dpo --pairs f --criterion empathy --name {LONG}", "400 characters, at most 100 fit"),
        ("train_dpo --pairs f --criterion empathy --name ../../elsewhere", "names a folder too"),
        ("serve_demo --port 99999", "99999 is no port"),
        ("serve_local_model --port x", "x is no port"),
        ("score_responses --run r --study s --output x.csv", "--output goes with --input"),
        ("sweep_modpo --study s --primary a --criterion b --name a/b", "names a folder too"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_before_anything_is_done(command, problem):
    with pytest.raises(CommandError, match=problem):
        call_command(*command.split())


def test_keyed_options_are_read_by_name():
    assert keyed("--pairs", ["empathy=a=b.json", "safety=c"], "criterion=file") == {
        "empathy": "a=b.json",
        "safety": "c",
    }
    assert keyed_numbers("--adapter", ["runs/a=b=0.25", "c=1"]) == {"runs/a=b": 0.25, "c": 1.0}


@pytest.mark.parametrize("items", [["empathy"], ["=file"], ["empathy="], ["a=1", "a=2"]])
def test_a_malformed_or_repeated_item_is_refused(items):
    with pytest.raises(InputError, match=r"^--pairs "):
        keyed("--pairs", items, "criterion=file")


@pytest.mark.parametrize("items", [["empathy"], ["=1"], ["a=half"], ["a=nan"], ["a=inf"], ["a=1", "a=2"]])
def test_a_number_that_is_none_or_comes_twice_is_refused(items):
    with pytest.raises(InputError, match=r"^--weight "):
        keyed_numbers("--weight", items)
