"""Write a study's verdicts as CSV, once it is unblinded."""

import csv
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from typing import Any

from annotation.command import StudyCommand
from annotation.errors import StudyError
from annotation.models import RaterKind, Study, Verdict

LABELS = (
    "item",
    "rater",
    "criterion",
    "label",
    "rater_kind",
    "prompt",
    "system_a",
    "system_b",
    "stratum",
    "simulated",
    "toy",
)
VERDICTS = (
    "question_id",
    "system_left",
    "system_right",
    "rater",
    "rater_kind",
    "simulated",
    "presentation",
    "criterion",
    "verdict",
    "reason",
    "submitted_at",
    "seconds",
)


class Command(StudyCommand):
    help = """Write verdicts to stdout as CSV, of a study that is unblinded.

  labels     what `agreement --csv` takes: a row an item, rater and criterion, in system order (A, tie, B); a person's
             first look at a pair, a judge's two looks in one
  verdicts   what `import_verdicts` takes: every presentation as it was given, also what could not be judged"""
    examples = """  manage.py export_verdicts --study pilot > labels.csv
  manage.py export_verdicts --study pilot --format verdicts > verdicts.csv"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--format", choices=["labels", "verdicts"], default="labels")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        if study.unblinded_at is None:
            raise StudyError(
                f"study {study.slug} is not unblinded: its verdicts would tell systems apart. Lock and unblind it first"
            )
        header, rows = (LABELS, labels(study)) if options["format"] == "labels" else (VERDICTS, verdicts(study))
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def labels(study: Study) -> Iterable[Sequence[Any]]:
    from evaluation.labels import labels_of, verdicts_of

    frame = labels_of(verdicts_of(study))[list(LABELS)]
    return frame.astype({"simulated": str, "toy": str}).itertuples(index=False)


def verdicts(study: Study) -> Iterable[Sequence[Any]]:
    """Calibration pairs are practice and left out, and so are raters who have withdrawn."""
    given = (
        Verdict.objects.filter(
            assignment__comparison__study=study,
            assignment__comparison__calibration=False,
            assignment__submitted_at__isnull=False,
            assignment__rater__withdrawn_at__isnull=True,
            assignment__rater__kind__in=[RaterKind.CLINICIAN, RaterKind.JUDGE],
        )
        .select_related(
            "criterion",
            "assignment__rater",
            "assignment__comparison__response_a__prompt",
            "assignment__comparison__response_a__system",
            "assignment__comparison__response_b__system",
        )
        .defer(
            "assignment__comparison__response_a__text",
            "assignment__comparison__response_b__text",
            "assignment__comparison__response_a__prompt__text",
        )
        .order_by("assignment__rater", "assignment__position", "criterion__position")
    )
    for verdict in given.iterator():
        assignment = verdict.assignment
        yield (
            assignment.comparison.response_a.prompt.key,
            assignment.left.system.name,
            assignment.right.system.name,
            assignment.rater.name,
            assignment.rater.kind,
            str(assignment.rater.simulated).lower(),
            assignment.presentation,
            verdict.criterion.key,
            verdict.choice,
            assignment.reason,
            assignment.submitted_at.isoformat() if assignment.submitted_at else "",
            "" if assignment.seconds is None else round(assignment.seconds, 3),
        )
