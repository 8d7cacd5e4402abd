import csv
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError
from annotation.models import Response
from training.models import Run, RunKind
from training.runs import finished_run

COLUMNS = ["question_text", "response_text"]


class Command(StudyCommand):
    help = "Score responses with a trained reward model. Scores that are there already are kept."
    examples = """\
  manage.py score_responses --run reward-safety --study demo
  manage.py score_responses --run reward-safety --input responses.csv --output scored.csv"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--run", required=True, help="name of a finished reward-model run")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--study", help="slug of the study whose responses are scored")
        what.add_argument("--input", type=Path, metavar="FILE", help=f"CSV with {', '.join(COLUMNS)}")
        parser.add_argument("--output", type=Path, metavar="FILE", help="CSV to write, with the column reward added")

    def handle(self, *args: Any, **options: Any) -> None:
        run = finished_run(options["run"], RunKind.REWARD_MODEL)
        if options["study"]:
            self.score_study(run, options["study"])
        elif options["output"]:
            self.score_file(run, options["input"], options["output"])
        else:
            raise InputError("--input needs --output: the file that the rewards go to")

    def score_study(self, run: Run, slug: str) -> None:
        from training.rewards import score_responses

        study = self.study(slug)
        responses = Response.objects.filter(prompt__study=study).select_related("prompt")
        new = score_responses(run, responses, track=lambda chunks: self.progress(chunks, label="scoring"))
        self.stdout.write(f"{new} responses scored by {run}, {len(responses) - new} had been before")

    def score_file(self, run: Run, source: Path, target: Path) -> None:
        from training.scoring import score_texts

        if target.exists():
            raise InputError(f"{target} exists: choose another --output or remove it")
        columns, rows = read_rows(source)
        rewards = score_texts(run.folder, [(row["question_text"], row["response_text"]) for row in rows])
        partial = target.with_name(f".{target.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*columns, "reward"])
            writer.writeheader()
            writer.writerows({**row, "reward": f"{reward:.6f}"} for row, reward in zip(rows, rewards, strict=True))
        partial.rename(target)
        self.stdout.write(f"{len(rows)} responses scored by {run}: {target}")


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV that has the two texts."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        if missing := [name for name in COLUMNS if name not in columns]:
            raise InputError(f"{path}, row 1: column {missing[0]} is missing")
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        for name in COLUMNS:
            if not (row[name] or "").strip():
                raise InputError(f"{path}, row {number}, column {name}: it is empty")
    return [name for name in columns if name != "reward"], [
        {name: value for name, value in row.items() if name in columns and name != "reward"} for row in rows
    ]
