"""What every command does with what goes wrong."""

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from annotation.errors import InputError
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
