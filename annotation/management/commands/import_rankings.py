"""Import rankings in the authors' format."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.imports import import_rankings


class Command(StudyCommand):
    help = """Import {criterion}_rankings.json, a list of
{question_id, question_text, ranking: [{rank, response_id, response_text}, ...]}.
They are kept as the rankings of a judge named after the file, apart from those of participants."""
    examples = "  manage.py import_rankings empathy_rankings.json --study pilot --criterion empathy"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("json", type=Path)
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--criterion", required=True, metavar="C")

    def handle(self, *args: Any, **options: Any) -> None:
        criterion = self.study(options["study"]).criterion(options["criterion"])
        rater, count = import_rankings(options["json"], criterion)
        self.stdout.write(f"study {options['study']}, {criterion.key}: {count} rankings by {rater.name}")
