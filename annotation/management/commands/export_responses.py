"""Write a study's responses as CSV."""

import csv
from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand
from annotation.errors import InputError
from annotation.models import Response, Split

CANDIDATES = {
    "question_id": "prompt__key",
    "question_text": "prompt__text",
    "response_id": "key",
    "response_text": "text",
}
EVALUATION = {
    "question_id": "prompt__key",
    "question_text": "prompt__text",
    "response_text": "text",
    "model_name": "system__name",
}


class Command(StudyCommand):
    help = """Write responses to stdout as CSV: question_id, question_text, response_id, response_text,
or with --format evaluation: question_id, question_text, response_text, model_name."""
    examples = """  manage.py export_responses --study demo > responses.csv
  manage.py export_responses --study demo --system MODPO --split test --format evaluation > MODPO_responses.csv"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--system", metavar="NAME", help="one system's alone; all by default")
        parser.add_argument("--split", choices=Split.values, help="one split alone; all by default")
        parser.add_argument("--format", choices=["candidates", "evaluation"], default="candidates")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        responses = Response.objects.filter(prompt__study=study).order_by("prompt_id", "pk")
        if options["system"]:
            if not study.systems.filter(name=options["system"]).exists():
                known = ", ".join(study.systems.values_list("name", flat=True)) or "none yet"
                raise InputError(f"--system {options['system']}: there is no such system (there are: {known})")
            responses = responses.filter(system__name=options["system"])
        if options["split"]:
            responses = responses.filter(prompt__split=options["split"])
        columns = EVALUATION if options["format"] == "evaluation" else CANDIDATES
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(responses.values_list(*columns.values()).iterator())
