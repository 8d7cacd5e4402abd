"""Import responses that were written elsewhere."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.imports import import_responses
from annotation.models import SystemKind
from annotation.options import at_most


class Command(StudyCommand):
    help = """Import responses to a study's prompts from CSV: question_id, question_text, response_id, response_text,
or question_id, question_text, response_text, model_name."""
    examples = """  manage.py import_responses responses.csv --study pilot --system Base --kind base
  manage.py import_responses GPT-4o_responses.csv --study pilot"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("csv", type=Path)
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument(
            "--system",
            type=at_most(80),
            metavar="NAME",
            help="who wrote them; else the model_name column, else the file's name",
        )
        parser.add_argument(
            "--kind", choices=SystemKind.values, default=SystemKind.API, help="kind of a system not known yet (api)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        counts = import_responses(options["csv"], study, system=options["system"], kind=SystemKind(options["kind"]))
        for name, count in counts.items():
            self.stdout.write(f"study {study.slug}: {count} responses by {name}")
