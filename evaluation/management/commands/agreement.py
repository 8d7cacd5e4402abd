from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from annotation.command import StudyCommand
from annotation.errors import InputError


class Command(StudyCommand):
    help = (
        "How far raters agree with one another, and judges with them. A CSV holds item, rater, criterion, label and, "
        "where there are judges, rater_kind (human or judge)."
    )
    examples = """\
  manage.py agreement --study pilot
  manage.py agreement --study pilot --judge gpt --epsilon 0.2 --json
  manage.py agreement --csv labels.csv --level ordinal --order B,tie,A --bootstrap 2000 --seed 0 --json"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--study")
        source.add_argument("--csv", type=Path, metavar="FILE")
        parser.add_argument("--level", choices=["nominal", "ordinal"], default="nominal", help="of alpha")
        parser.add_argument("--order", metavar="B,tie,A", help="the labels from lowest to highest")
        parser.add_argument("--judge", metavar="NAME", help="this judge alone")
        parser.add_argument("--epsilon", type=float, default=0.2, help="what replacing a person may cost")
        parser.add_argument("--bootstrap", type=int, default=2000, help="resamples of the items; 0: no intervals")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from evaluation.agreement import Settings, agreement
        from evaluation.tables import agreement_text

        order = tuple(label.strip() for label in options["order"].split(",")) if options["order"] else None
        asked = {key: options[key] for key in ("level", "judge", "epsilon", "bootstrap", "seed")} | {"order": order}
        try:
            Settings(**asked)
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        frame, notes = self.labels(options, order)
        try:
            result = agreement(frame, **asked)
        except ValueError as error:
            raise InputError(f"{options['csv'] or options['study']}: {error}") from error
        result["settings"] |= notes
        if options["json"]:
            self.write_json(result)
        else:
            self.stdout.write("\n\n".join([*notes.get("notes", []), agreement_text(result)]))

    def labels(self, options: dict[str, Any], order: tuple[str, ...] | None) -> tuple[Any, dict[str, Any]]:
        """The labels, and what a reader must know of who gave them."""
        if options["csv"]:
            from evaluation.label_file import read_labels

            return read_labels(options["csv"], order=order), {}
        from evaluation.report import agreement_labels

        return agreement_labels(self.study(options["study"]), judge=options["judge"])
