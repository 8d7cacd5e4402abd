import csv
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError, StudyError
from annotation.files import read_csv
from annotation.models import Response
from training.models import Run, RunKind
from training.runs import finished_run

COLUMNS = ["question_text", "response_text"]


class Command(StudyCommand):
    help = """Score responses with a trained reward model, on every criterion it learned.
Scores that are there already are kept."""
    examples = """\
  manage.py score_responses --run reward-safety --study demo
  manage.py score_responses --run reward-safety --input responses.csv --output scored.csv"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--run", required=True, help="name of a finished reward-model run")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--study", help="slug of the study whose responses are scored")
        what.add_argument("--input", type=Path, metavar="FILE", help=f"CSV with {', '.join(COLUMNS)}")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="CSV to write, with the column reward added; reward_CRITERION for each where the run learned several",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["study"] and options["output"]:
            raise InputError("--output goes with --input: rewards of a study's responses are stored with them")
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
        from training.scoring import RunScorer

        if target.exists():
            raise InputError(f"{target} exists: choose another --output or remove it")
        if not target.parent.is_dir():
            raise InputError(f"--output {target}: there is no folder {target.parent}")
        columns, rows = read_rows(source)
        scorer = RunScorer(run.folder)
        texts = [(row["question_text"], row["response_text"]) for row in rows]
        rewards = scorer.rewards(texts, track=lambda batches: self.progress(batches, label="scoring"))
        names = ["reward"] if len(rewards) == 1 else [f"reward_{criterion}" for criterion in rewards]
        added = [dict(zip(names, scores, strict=True)) for scores in zip(*rewards.values(), strict=True)]
        kept = [name for name in columns if name not in names]
        write_rows(target, [*kept, *names], [row | new for row, new in zip(rows, added, strict=True)])
        self.stdout.write(f"{len(rows)} responses scored by {run}: {target}")


def read_rows(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and rows of a CSV that has the two texts, neither of them blank."""
    entries = read_csv(path, *COLUMNS)
    for entry in entries:
        for column in COLUMNS:
            entry.text(column)
    return list(entries[0].values), [entry.values for entry in entries]


def write_rows(target: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """All of the file or nothing of it; numbers with six decimals.

    Raises:
        StudyError: it cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            for row in rows:
                writer.writerow({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()})
        partial.rename(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StudyError(f"{target}: cannot be written: {error.strerror}") from error
