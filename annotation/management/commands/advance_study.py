from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand
from annotation.models import StudyStatus


class Command(StudyCommand):
    help = "Take a study one step on: draft, open, closed, locked. A lock is for good: its data can no longer change."
    examples = """\
  manage.py advance_study --study pilot --to open --by admin
  manage.py advance_study --study pilot --to locked --by admin"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--to", required=True, choices=StudyStatus.values[1:])
        parser.add_argument("--by", required=True, metavar="USERNAME", help="who decided it, and may advance the study")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        user = self.user_who_may("advance", options["by"], study)
        study.advance(StudyStatus(options["to"]), by=user)
        self.stdout.write(f"study {study.slug} is {study.status}")
        if study.status == StudyStatus.OPEN:
            self.tell_missing(study)
        if study.data_sha256:
            self.stdout.write(f"sha256 of its data  {study.data_sha256}")
