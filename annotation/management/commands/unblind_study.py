from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model

from annotation.command import StudyCommand
from annotation.errors import InputError


class Command(StudyCommand):
    help = "Let the reports of a locked study tell systems apart. It cannot be undone, and is kept in the audit trail."
    examples = """\
  manage.py unblind_study --study pilot --by admin"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--by", required=True, metavar="USERNAME", help="who decided it, and may unblind the study")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        user = get_user_model().objects.filter(username=options["by"]).first()
        if user is None or not user.has_perm("annotation.unblind_study", study):
            raise InputError(f"user {options['by']!r} is unknown or may not unblind this study: name one who may")
        study.unblind(by=user)
        self.stdout.write(f"study {study.slug} is unblinded")
