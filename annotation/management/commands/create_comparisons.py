from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.comparisons import create_comparisons, system_named
from annotation.models import Split


class Command(StudyCommand):
    help = "Pair the first responses of two systems on each prompt of a split, ready to be assigned to raters."
    examples = """
  manage.py create_comparisons --study demo --systems base modpo
  manage.py create_comparisons --study demo --systems base modpo --split train
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--study", required=True, help="slug of the study")
        parser.add_argument("--systems", required=True, nargs=2, metavar="NAME", help="the two systems to compare")
        parser.add_argument("--split", choices=Split.values, default=Split.TEST, help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        first, second = (system_named(study, name) for name in options["systems"])
        before = study.comparisons.count()
        comparisons = create_comparisons(study, first, second, split=Split(options["split"]))
        made = study.comparisons.count() - before
        self.stdout.write(f"{len(comparisons)} comparisons of {first} and {second}, {made} of them new")
