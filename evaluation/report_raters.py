"""Who judged, how they are named in a report, and what must be said of them wherever their verdicts show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef, Q

from annotation.models import RaterKind, Study
from training.models import PreferenceDataset


@dataclass(frozen=True)
class RaterRow:
    """A clinician or judge, how they are named in the report, and how far they have come."""

    pk: int
    name: str
    display: str
    kind: str
    simulated: bool
    toy: bool
    learned_from_simulated: bool
    assigned: int
    submitted: int
    last: datetime | None

    @property
    def is_judge(self) -> bool:
        return self.kind == RaterKind.JUDGE


def rater_rows(study: Study) -> list[RaterRow]:
    simulated_data = PreferenceDataset.objects.filter(runs__judges=OuterRef("pk"), raters__simulated=True)
    real = Q(assignments__comparison__calibration=False)
    rows = (
        study.raters.active()
        .filter(kind__in=[RaterKind.CLINICIAN, RaterKind.JUDGE])
        .annotate(
            learned_from_simulated=Exists(simulated_data),
            assigned=Count("assignments", filter=real),
            submitted=Count("assignments", filter=real & Q(assignments__submitted_at__isnull=False)),
            last=Max("assignments__submitted_at"),
        )
        .order_by("kind", "pk")
        .values(
            "pk",
            "name",
            "kind",
            "simulated",
            "judge__is_toy",
            "learned_from_simulated",
            "assigned",
            "submitted",
            "last",
        )
    )
    return [
        RaterRow(
            pk=row["pk"],
            name=row["name"],
            display=display_name(row),
            kind=row["kind"],
            simulated=row["simulated"],
            toy=bool(row["judge__is_toy"]),
            learned_from_simulated=row["learned_from_simulated"],
            assigned=row["assigned"],
            submitted=row["submitted"],
            last=row["last"],
        )
        for row in rows
    ]


def display_name(row: Mapping[str, Any]) -> str:
    """The rater's name, never without what takes from its weight."""
    words = {
        "simulated": row["simulated"],
        "toy judge": row["judge__is_toy"],
        "learned from simulated raters": row["learned_from_simulated"],
    }
    said = ", ".join(word for word, holds in words.items() if holds)
    return f"{row['name']} ({said})" if said else str(row["name"])


def simulated_kinds(study: Study) -> list[str]:
    """Sentences such as "6 of 6 clinicians", for each kind of rater of which any are simulated."""
    counts = (
        study.raters.active()
        .order_by("kind")
        .values_list("kind")
        .annotate(everyone=Count("pk"), simulated=Count("pk", filter=Q(simulated=True)))
    )
    return [f"{simulated} of {everyone} {kind}s" for kind, everyone, simulated in counts if simulated]


def cautions(raters: Iterable[RaterRow]) -> str:
    """What takes from the weight of these raters' verdicts, as sentences; nothing where nothing does."""
    raters = list(raters)
    said = {
        "Simulated clinicians: no person stands behind these verdicts": [
            row for row in raters if row.simulated and not row.is_judge
        ],
        "Toy judge: its opinions are worth nothing": [row for row in raters if row.toy],
        "Learned from simulated raters": [row for row in raters if row.learned_from_simulated],
    }
    return ". ".join(f"{words}{some_of(rows, raters)}" for words, rows in said.items() if rows)


def some_of(rows: list[RaterRow], raters: list[RaterRow]) -> str:
    """Who they are, unless all others of their kind are so too."""
    alike = [row for row in raters if row.is_judge == rows[0].is_judge]
    return "" if len(alike) == len(rows) else f" ({', '.join(row.name for row in rows)})"
