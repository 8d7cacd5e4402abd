"""What runs were made from, however far back, in a number of queries that does not grow with them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Q, QuerySet

from annotation.errors import InputError
from annotation.models import ConsentRecord, Rater, RaterKind
from training.models import PreferenceDataset, Run
from training.runs import read_record

Edges = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Lineage:
    """Who was made from whom: of each run its parents and the data sets it learned from, as primary keys."""

    parents: Edges
    datasets: Edges

    @classmethod
    def load(cls) -> "Lineage":
        """Of all runs: two numbers an edge, and two queries where a walk takes one a generation."""
        return cls(
            parents=_grouped(Run.parents.through.objects.order_by("to_run_id").values_list("from_run_id", "to_run_id")),
            datasets=_grouped(
                Run.datasets.through.objects.order_by("preferencedataset_id").values_list(
                    "run_id", "preferencedataset_id"
                )
            ),
        )

    def ancestors(self, run: int) -> set[int]:
        """The run itself and every run it was made from."""
        return _reached({run}, self.parents)

    def sources(self, run: int) -> set[int]:
        """The data sets that the run or an ancestor learned from."""
        return {dataset for pk in self.ancestors(run) for dataset in self.datasets.get(pk, ())}

    def learned_from(self, datasets: Collection[int]) -> set[int]:
        """The runs that learned from one of these data sets, or were made from one that did."""
        direct = {run for run, sets in self.datasets.items() if not set(sets).isdisjoint(datasets)}
        return self.made_from(direct)

    def made_from(self, runs: Collection[int]) -> set[int]:
        """These runs, and all that were made from them."""
        children = _grouped((parent, run) for run, parents in self.parents.items() for parent in parents)
        return _reached(set(runs), children)

    def tainted(self) -> set[int]:
        """The runs that go back to someone who has withdrawn since."""
        datasets = _keys(PreferenceDataset.objects.filter(raters__withdrawn_at__isnull=False))
        return self.learned_from(datasets) | self.made_from(
            _keys(Run.objects.filter(rater__withdrawn_at__isnull=False))
        )

    def simulated(self) -> set[int]:
        """The runs that go back to simulated raters, by data sets of this site or by what their files said."""
        datasets = _keys(PreferenceDataset.objects.filter(raters__simulated=True))
        runs = _keys(Run.objects.filter(Q(environment__simulated=True) | Q(rater__simulated=True)))
        return self.learned_from(datasets) | self.made_from(runs)

    def of_study(self, study: int) -> set[int]:
        """The runs that concern a study's criteria or rankings, what was made from them, and who wrote for it."""
        datasets = _keys(PreferenceDataset.objects.filter(study=study))
        runs = _keys(Run.objects.filter(criterion__study=study)) | _keys(Run.objects.filter(system__study=study))
        return self.learned_from(datasets) | self.made_from(runs)


def learned_from(rater: Rater) -> list[str]:
    """The data sets that hold the rater's rankings, then the runs that go back to them or were made for that person."""
    datasets = PreferenceDataset.objects.filter(raters=rater).select_related("criterion").order_by("pk")
    lineage = Lineage.load()
    runs = lineage.learned_from(_keys(datasets)) | lineage.made_from(_keys(Run.objects.filter(rater=rater)))
    named = Run.objects.filter(pk__in=runs).order_by("pk")
    return [*(f"data set {dataset}" for dataset in datasets), *(f"run {run}" for run in named)]


def _keys(rows: "QuerySet[Any]") -> set[int]:
    return set(rows.values_list("pk", flat=True))


def _grouped(pairs: Iterable[tuple[int, int]]) -> Edges:
    groups = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def _reached(start: set[int], edges: Edges) -> set[int]:
    known, frontier = set(start), set(start)
    while frontier:
        frontier = {after for pk in frontier for after in edges.get(pk, ())} - known
        known |= frontier
    return known


@dataclass(frozen=True)
class Source:
    """A data set and the people behind it."""

    dataset: PreferenceDataset
    raters: Mapping[str, int]  # by kind, simulated ones apart
    withdrawn: int
    withdrawn_at: datetime | None
    consents: Mapping[str, int]  # raters by the version they agreed to

    @property
    def simulated(self) -> bool:
        return any(kind.startswith("simulated") for kind in self.raters)

    @property
    def taint(self) -> str:
        """What is wrong with it, if someone has withdrawn."""
        raters = "rater" if self.withdrawn == 1 else "raters"
        return f"{self.withdrawn} {raters} behind data set {self.dataset}" if self.withdrawn else ""


@dataclass(frozen=True)
class Step:
    """A run with all it was made from. One that stands elsewhere in the tree already is `repeated`, without its own."""

    run: Run
    simulated: bool
    taints: Sequence[str]  # who has withdrawn since
    sources: Sequence[Source] = ()
    files: Sequence[Mapping[str, Any]] = ()
    parents: Sequence["Step"] = field(default_factory=list)
    repeated: bool = False

    @property
    def is_origin(self) -> bool:
        """Whether nothing is known that it was made from."""
        return not (self.parents or self.sources or self.files or self.run.rater)


def provenance(run: Run) -> Step:
    """The tree of runs, data sets and files that the run goes back to, down to how many rankings, raters, consents."""
    return _Tree(run).step(run.pk)


def record_of(run: Run) -> dict[str, Any]:
    """What run.json says; nothing where the folder is unfinished, on another machine or damaged."""
    try:
        return read_record(run.folder) if run.path else {}
    except (InputError, ValueError):
        return {}


class _Tree:
    def __init__(self, run: Run) -> None:
        self.lineage = Lineage.load()
        runs = Run.objects.filter(pk__in=self.lineage.ancestors(run.pk)).select_related("rater").defer("metrics")
        self.runs = {row.pk: row for row in runs}
        self.sources = _sources(self.lineage.sources(run.pk))
        self.shown: set[int] = set()

    def step(self, pk: int) -> Step:
        run, repeated = self.runs[pk], pk in self.shown
        self.shown.add(pk)
        marks: dict[str, Any] = {"simulated": self.is_simulated(pk), "taints": self.taints(pk)}
        if repeated:
            return Step(run, **marks, repeated=True)
        return Step(
            run,
            **marks,
            sources=[self.sources[dataset] for dataset in self.lineage.datasets.get(pk, ())],
            files=record_of(run).get("files", []),
            parents=[self.step(parent) for parent in self.lineage.parents.get(pk, ())],
        )

    def is_simulated(self, pk: int) -> bool:
        runs = [self.runs[ancestor] for ancestor in self.lineage.ancestors(pk)]
        return (
            any(self.sources[dataset].simulated for dataset in self.lineage.sources(pk))
            or any(run.environment.get("simulated") for run in runs)
            or any(run.rater and run.rater.simulated for run in runs)
        )

    def taints(self, pk: int) -> list[str]:
        runs = [self.runs[ancestor] for ancestor in sorted(self.lineage.ancestors(pk))]
        return [
            *filter(None, (self.sources[dataset].taint for dataset in sorted(self.lineage.sources(pk)))),
            *(f"the person that {run} was made for" for run in runs if run.rater and run.rater.withdrawn_at),
        ]


def _sources(datasets: Collection[int]) -> dict[int, Source]:
    raters: dict[int, dict[str, int]] = defaultdict(dict)
    withdrawn: dict[int, int] = defaultdict(int)
    last: dict[int, datetime | None] = {}
    rows = (
        PreferenceDataset.raters.through.objects.filter(preferencedataset__in=datasets)
        .values_list("preferencedataset_id", "rater__kind", "rater__simulated")
        .annotate(n=Count("pk"), gone=Count("rater__withdrawn_at"), last=Max("rater__withdrawn_at"))
        .order_by("preferencedataset_id", "rater__kind", "rater__simulated")
    )
    for pk, kind, simulated, n, gone, at in rows:
        name = RaterKind(kind).label.lower()
        raters[pk][f"simulated {name}" if simulated else name] = n
        withdrawn[pk] += gone
        last[pk] = max(filter(None, [last.get(pk), at]), default=None)
    consents = _consents(datasets)
    return {
        dataset.pk: Source(
            dataset, raters[dataset.pk], withdrawn[dataset.pk], last.get(dataset.pk), consents[dataset.pk]
        )
        for dataset in PreferenceDataset.objects.filter(pk__in=datasets).select_related("criterion", "study")
    }


def _consents(datasets: Collection[int]) -> Mapping[int, Mapping[str, int]]:
    agreed: dict[int, dict[str, int]] = defaultdict(dict)
    rows = (
        ConsentRecord.objects.filter(agreed=True, participant__rater__preference_datasets__in=datasets)
        .values_list("participant__rater__preference_datasets", "document__version")
        .annotate(n=Count("participant", distinct=True))
        .order_by("document__version")
    )
    for pk, version, n in rows:
        agreed[pk][version] = n
    return agreed
