from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand
from annotation.designs import design_named, open_design
from annotation.models import RaterKind


class Command(StudyCommand):
    help = "Let the study's clinicians see the pairs of a design from now on. Nothing closes it but the study's lock."
    examples = "  manage.py open_clinician_study --study pilot --name main"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, help="slug of the study")
        parser.add_argument("--name", required=True, help="of the design")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        design = design_named(study, options["name"])
        open_design(design)
        clinicians = study.raters.active().filter(kind=RaterKind.CLINICIAN).count()
        pairs = design.comparisons.filter(calibration=False).count()
        self.stdout.write(f"design {design} is open: {pairs} pairs, {clinicians} clinicians")
