"""What a report is made from: the study's verdicts, of the stratum and raters that were asked for, and its rankings."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd
from django.core.cache import caches
from django.db.models import Count, Max, QuerySet

from annotation.models import Criterion, Ranking, RaterKind, SafetyFlag, Study, VerdictEvent
from evaluation.labels import labels_of, verdicts_of
from evaluation.ratings import COLUMNS, HUMAN
from evaluation.report_raters import RaterRow, cautions, rater_rows
from evaluation.strata import agreement_with_strata

DRAWS, SEED, EPSILON = 2000, 0, 0.2
ORDER = ("B", "tie", "A")
RANKED = {
    "criterion": "criterion__key",
    "prompt": "task__prompt_id",
    "rater": "task__rater_id",
    "simulated": "task__rater__simulated",
    "response": "ranked_responses__response_id",
    "rank": "ranked_responses__rank",
}
POOLED = "All criteria pooled"
# Part of every key of what is kept: raise it when what is kept changes its shape.
VERSION = 6
KEPT_FOR = 60 * 60 * 24 * 90

T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """A part of a study: one stratum of its comparisons, some of its raters. Empty means all."""

    stratum: str = ""
    raters: tuple[str, ...] = ()

    def __str__(self) -> str:
        stratum = [f"Stratum: {self.stratum}"] if self.stratum else []
        return ". ".join([*stratum, *([f"Raters: {', '.join(self.raters)}"] if self.raters else [])])


@dataclass(frozen=True)
class Source:
    """A study as a report may tell of it now. While `blind`, judges are left out, and no part may name a system or
    say which of two won."""

    study: Study
    selection: Selection = field(default_factory=Selection)
    blind: bool = True

    @cached_property
    def everyone(self) -> list[RaterRow]:
        """All clinicians and judges, judges too while blind: how far they have come tells of no system."""
        return rater_rows(self.study)

    @cached_property
    def raters(self) -> dict[str, RaterRow]:
        """Those whose verdicts are told of, by name."""
        wanted = self.selection.raters
        return {
            row.name: row
            for row in self.everyone
            if not (row.is_judge and self.blind) and (not wanted or row.name in wanted)
        }

    @cached_property
    def clinicians(self) -> list[RaterRow]:
        return [row for row in self.raters.values() if not row.is_judge]

    @cached_property
    def judges(self) -> list[RaterRow]:
        return [row for row in self.raters.values() if row.is_judge]

    @cached_property
    def criteria(self) -> dict[str, str]:
        """{key: name} of what is judged, in order."""
        return dict(Criterion.objects.filter(study=self.study, judged=True).values_list("key", "name"))

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """Of the selection, a row a presentation and criterion, also where the rater could not judge."""
        return self.kept("verdicts", self.selected_verdicts)

    def selected_verdicts(self) -> pd.DataFrame:
        frame = verdicts_of(self.study, cannot=True)
        wanted = frame["rater"].isin(list(self.raters)) & frame["criterion"].isin(list(self.criteria))
        if self.selection.stratum:
            wanted &= frame["stratum"] == self.selection.stratum
        return frame[wanted].reset_index(drop=True)

    @cached_property
    def labels(self) -> pd.DataFrame:
        """One label an item, rater and criterion (see `labels_of`)."""
        return labels_of(self.verdicts[self.verdicts["label"].notna()])

    @property
    def people(self) -> pd.DataFrame:
        """Labels of clinicians."""
        return self.labels[self.labels["rater_kind"] == HUMAN]

    @cached_property
    def agreement(self) -> dict[str, Any] | None:
        """All that `agreement` says of the selection and its strata; None where no clinician gave a verdict."""
        return self.kept("agreement", self.computed_agreement)

    def computed_agreement(self) -> dict[str, Any] | None:
        if self.people.empty:
            return None
        strata = ["stratum"] if (self.people["stratum"] != "").any() and not self.selection.stratum else []
        frame = self.labels[[*COLUMNS, "rater_kind", "cluster", "pair", *strata]]
        return agreement_with_strata(frame, level="ordinal", order=ORDER, bootstrap=DRAWS, seed=SEED, epsilon=EPSILON)

    @cached_property
    def all_criteria(self) -> dict[str, str]:
        """{key: name} of what is ranked or judged, in order."""
        return dict(Criterion.objects.filter(study=self.study).values_list("key", "name"))

    @property
    def submitted_rankings(self) -> QuerySet[Ranking]:
        """Of participants who have not withdrawn, whatever the selection: it is one of verdicts."""
        return Ranking.objects.submitted().filter(
            task__rater__study=self.study,
            task__rater__kind=RaterKind.PARTICIPANT,
            task__rater__withdrawn_at__isnull=True,
        )

    @cached_property
    def rankings(self) -> pd.DataFrame:
        """A row a ranked response: the columns are those of `RANKED`."""
        rows = self.submitted_rankings.values_list(*RANKED.values())
        return self.kept("rankings", lambda: pd.DataFrame(rows.iterator(), columns=list(RANKED)))

    def sections_of(self, found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """(name, statistics) of each criterion in its order, then of all pooled, from what `agreement` returned."""
        named = [(name, found["criteria"][key]) for key, name in self.criteria.items() if key in found["criteria"]]
        return [*named, (POOLED, found["pooled"])]

    def note(self, raters: Iterable[RaterRow] | None = None) -> str:
        """What stands beside whatever these raters' verdicts show: the selection, and what takes from their weight."""
        own = cautions(self.raters.values() if raters is None else raters)
        return ". ".join(part for part in (str(self.selection), own) if part)

    def caption(self, words: str, raters: Iterable[RaterRow] | None = None) -> str:
        return f"{words}. {note}." if (note := self.note(raters)) else f"{words}."

    @cached_property
    def state(self) -> str:
        """Changes whenever what a report shows may: a verdict, a ranking, a flag, a rater, a name, the blinding, the
        selection."""
        study = self.study
        last_event = VerdictEvent.objects.filter(study=study).aggregate(last=Max("pk"))["last"]
        flags = SafetyFlag.objects.filter(assignment__comparison__study=study).aggregate(Count("pk"), Max("pk"))
        rankings = self.submitted_rankings.aggregate(Count("pk"), Max("submitted_at"))
        systems = list(study.systems.values_list("pk", "name"))
        own = (VERSION, study.pk, study.created_at, self.blind, self.selection, last_event, flags, rankings)
        names = (self.criteria, self.all_criteria, systems)
        return hashlib.sha256(repr((own, self.everyone, names)).encode()).hexdigest()

    def kept(self, name: str, compute: Callable[[], T]) -> T:
        """What `compute` returned when it was last asked for at this state; kept over a restart."""
        key = self.key(name)
        store = caches["reports"]
        found: tuple[T] | None = store.get(key)
        if found is None:
            found = (compute(),)
            store.set(key, found, KEPT_FOR)
        return found[0]

    def has(self, name: str) -> bool:
        return self.key(name) in caches["reports"]

    def key(self, name: str) -> str:
        return f"{name}:{self.state}"
