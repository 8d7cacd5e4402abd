"""Write a study's prompts as CSV."""

import csv
from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand
from annotation.models import Split


class Command(StudyCommand):
    help = "Write prompts to stdout as CSV: question_id, question_text."
    examples = "  manage.py export_prompts --study demo --split test > questions_test.csv"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--split", choices=Split.values, help="one split alone; all by default")

    def handle(self, *args: Any, **options: Any) -> None:
        prompts = self.study(options["study"]).prompts.order_by("pk")
        if options["split"]:
            prompts = prompts.filter(split=options["split"])
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(["question_id", "question_text"])
        writer.writerows(prompts.values_list("key", "text").iterator())
