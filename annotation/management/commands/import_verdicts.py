"""Import verdicts that were given elsewhere."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.options import keyed
from annotation.verdict_import import import_verdicts


class Command(StudyCommand):
    help = """Import verdicts of clinicians or judges that were given elsewhere, a row a verdict:

  question_id, system_left, system_right, rater, criterion, verdict
                   verdict is left, tie, right, cannot, or the name of one of the two systems
  question_id, system_a, system_b, order, rater, criterion, verdict
                   order is AB or BA, as they stood from left to right; verdict is A, tie, B, cannot, or a system's name
  and if you like  rater_kind (clinician or judge), simulated (true or false), presentation (1, or 2 for a second look),
                   reason, submitted_at (with its time zone), seconds

Prompts and responses must be in the study; comparisons and raters are made. The same file again changes nothing."""
    examples = """  manage.py import_verdicts verdicts.csv --study pilot --dry-run
  manage.py import_verdicts verdicts.csv --study pilot --criterion-map warmth=empathy"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("csv", type=Path)
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument(
            "--criterion-map",
            action="append",
            default=[],
            metavar="NAME=KEY",
            help="the study's key of a criterion that the file names otherwise (repeatable)",
        )
        parser.add_argument("--dry-run", action="store_true", help="check the file, and store nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        keys = keyed("--criterion-map", options["criterion_map"], "name=key")
        found = import_verdicts(options["csv"], study, criteria=keys, dry_run=options["dry_run"])
        if found.single:
            self.say(f"{found.single} pairs were judged in one order only: the analyses leave them out")
        if not found.verdicts:
            self.stdout.write(f"study {study.slug}: nothing new, it has all {found.before} verdicts of the file")
            return
        self.stdout.write(
            f"study {study.slug}: {found.verdicts} verdicts {'would be ' if options['dry_run'] else ''}new, "
            f"on {found.presentations} presentations ({found.comparisons} new comparisons, {found.raters} new raters); "
            f"{found.before} were there before"
        )
