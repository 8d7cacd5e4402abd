from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User

from annotation import lockout, user_trail
from annotation.command import StudyCommand
from annotation.errors import InputError


class Command(StudyCommand):
    help = "Let a user who is locked out after wrong passwords or codes try again. It is kept in the audit trail."
    examples = """\
  manage.py let_in_again admin"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise InputError(f"user {options['username']!r} is unknown: mind upper and lower case")
        if lockout.let_in_again(user):
            user_trail.keep(user, "lock_out.lift", by=None)
            self.stdout.write(f"user {user} can sign in again")
        else:
            self.stdout.write(f"user {user} is not locked out")
