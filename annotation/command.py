"""What every management command of Attune shares: examples in --help, one-line errors, progress on stderr."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DataError, IntegrityError, OperationalError

from annotation.errors import InputError, StudyError
from annotation.models import Study
from annotation.participation import missing_for_participants
from annotation.progress import progress_bar

T = TypeVar("T")


class StudyCommand(BaseCommand):
    """A command whose StudyErrors become one line on stderr and exit 1. Results go to stdout, progress to stderr."""

    examples = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        epilog = f"examples:\n{self.examples}" if self.examples else None
        return super().create_parser(
            prog_name, subcommand, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except StudyError as error:
            raise CommandError(str(error)) from error
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(
                f"the database failed: {reason} (is its disk full, or `manage.py migrate` due?)"
            ) from error
        except (DataError, IntegrityError) as error:
            raise CommandError(f"the database refused: {str(error).strip().splitlines()[0]}") from error
        except BrokenPipeError:
            # Whoever read our output has had enough (`| head`); nothing may be written to it at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            # Such as a folder that is a file, or a full disk.
            raise CommandError(f"{error.filename or 'the system'}: {error.strerror or error}") from error

    def study(self, slug: str) -> Study:
        """The study of that slug.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        study = Study.objects.filter(slug=slug).first()
        if study is None:
            known = ", ".join(Study.objects.values_list("slug", flat=True)) or "none yet"
            raise InputError(f"--study {slug}: there is no such study (there are: {known})")
        return study

    def user_who_may(self, deed: str, name: str, study: Study, *, to: str = "study") -> User:
        """The user of that name, who decides something of the study, or of its raters.

        Raises:
            InputError: there is none, or the user may not decide it.
        """
        user = User.objects.filter(username=name).first()
        if user is None or not user.has_perm(f"annotation.{deed}_{to}", study):
            what = "this study" if to == "study" else f"a {to} of this study"
            raise InputError(f"user {name!r} is unknown or may not {deed} {what}: name one who may")
        return user

    def progress(self, items: Iterable[T], *, total: int | None = None, label: str = "") -> Iterator[T]:
        """Yield the items, telling on stderr how far we are."""
        yield from progress_bar(items, total=total, label=label, file=getattr(self.stderr, "_out", None))

    def say(self, line: str) -> None:
        """A line of progress, on stderr and without colour."""
        self.stderr.write(line, style_func=str)

    def tell_missing(self, study: Study) -> None:
        """A line on stderr for each thing without which participants cannot take part."""
        for line in missing_for_participants(study):
            self.say(line)

    def write_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
