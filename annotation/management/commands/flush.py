from typing import Any

from django.core.management.commands import flush

from annotation import protection


class Command(flush.Command):
    """Django's own, which empties every table: those too that the database otherwise protects."""

    def handle(self, **options: Any) -> None:
        with protection.lifted(options["database"]):
            super().handle(**options)
