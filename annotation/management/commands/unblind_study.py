from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand


class Command(StudyCommand):
    help = "Let the reports of a locked study tell systems apart. It cannot be undone, and is kept in the audit trail."
    examples = """\
  manage.py unblind_study --study pilot --by admin"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--by", required=True, metavar="USERNAME", help="who decided it, and may unblind the study")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        user = self.user_who_may("unblind", options["by"], study)
        study.unblind(by=user)
        self.stdout.write(f"study {study.slug} is unblinded")
