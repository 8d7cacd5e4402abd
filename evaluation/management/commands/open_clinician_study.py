from argparse import ArgumentParser
from typing import Any

from django.db import transaction

from annotation.blinding_check import check_blinding
from annotation.command import StudyCommand
from annotation.design_summary import summarise_design
from annotation.designs import design_named, open_design


class Command(StudyCommand):
    help = """Let the study's clinicians see the pairs of a design from now on. Nothing closes it but the study's lock:
read with --dry-run first how precise it will be and what may tell who wrote a response."""
    examples = """\
  manage.py open_clinician_study --study pilot --name main --dry-run
  manage.py open_clinician_study --study pilot --name main"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, help="slug of the study")
        parser.add_argument("--name", required=True, help="of the design")
        parser.add_argument("--dry-run", action="store_true", help="tell what opens, and open nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        # Late: scipy takes a moment to load.
        from evaluation.design_precision import expectations, raters_assumed
        from evaluation.design_text import opening_text

        study = self.study(options["study"])
        with transaction.atomic():
            design = design_named(study, options["name"])
            open_design(design)
            summary = summarise_design(design)
            expected = expectations(design, raters=raters_assumed(design, summary.clinicians))
            self.stdout.write(opening_text(summary, expected, check_blinding(study, design)) + "\n")
            transaction.set_rollback(options["dry_run"])
        state = "would open (a dry run)" if options["dry_run"] else "is open"
        self.stdout.write(f"design {design} {state}: {summary.pairs} pairs, {summary.clinicians} clinicians")
