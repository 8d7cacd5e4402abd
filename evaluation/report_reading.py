"""What the team reads beside the numbers: the pairs that clinicians disagree on, and the flags they raised.

While blind the two responses stand in an order of their own, drawn anew for each pair, and the split of votes does not
say which of them it favours.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from django.db.models import Count, QuerySet

from annotation.models import Assignment, Comparison, FlagKind, Response, SafetyFlag, Side
from evaluation.rater_profiles import with_rest
from evaluation.report_source import Source
from evaluation.report_tables import Section, Table

Counts = dict[str, int]


@dataclass(frozen=True)
class Disputed:
    """A comparison by how far its clinicians disagree: the mean share of other raters who said otherwise."""

    item: int
    disagreement: float
    votes: dict[str, Counts]


@dataclass(frozen=True)
class Text:
    name: str
    text: str


@dataclass(frozen=True)
class Reading:
    """A comparison to be read: its texts, how each criterion was voted on, and what clinicians wrote."""

    comparison: Comparison
    disagreement: float
    texts: list[Text]
    splits: list[tuple[str, str]]
    reasons: list[tuple[str, str]]
    flags: list[str]


@dataclass(frozen=True)
class Flagged:
    flag: SafetyFlag
    rater: str
    texts: list[Text]


def disputed(source: Source) -> list[Disputed]:
    """The comparisons that two or more clinicians judged, from the most to the least disputed."""
    return source.kept("disputed", lambda: list(disputed_in(source.people)))


def disputed_in(people: pd.DataFrame) -> Iterable[Disputed]:
    compared = with_rest(people).dropna(subset="rest")
    share = (1 - compared["rest"]).groupby(compared["item"]).mean().sort_values(ascending=False, kind="stable")
    counts = compared.groupby(["item", "criterion", "label"], sort=False).size().reset_index(name="count")
    votes: dict[int, dict[str, Counts]] = {}
    columns = (counts[name].tolist() for name in ("item", "criterion", "label", "count"))
    for item, criterion, label, count in zip(*columns, strict=True):
        votes.setdefault(item, {}).setdefault(criterion, {})[label] = count
    disagreed = share[share > 0]
    for item, disagreement in zip(disagreed.index.tolist(), disagreed.tolist(), strict=True):
        yield Disputed(item, disagreement, votes[item])


def readings(source: Source, page: Sequence[Disputed]) -> list[Reading]:
    found = compared(source).in_bulk([row.item for row in page])
    judged = Assignment.objects.submitted().filter(comparison__in=found, rater__name__in=list(source.raters))
    reasons: dict[int, list[tuple[str, str]]] = {}
    for item, rater, reason in (
        judged.exclude(reason="").values_list("comparison", "rater__name", "reason").order_by("pk")
    ):
        reasons.setdefault(item, []).append((rater, reason))
    flags: dict[int, list[str]] = {}
    for flag in flags_of(source).filter(assignment__comparison__in=found):
        flags.setdefault(flag.assignment.comparison_id, []).append(flag_words(flag))
    return [
        Reading(
            comparison=found[row.item],
            disagreement=row.disagreement,
            texts=texts_of(source, found[row.item]),
            splits=[
                (name, split(source, found[row.item], row.votes[key]))
                for key, name in source.criteria.items()
                if key in row.votes
            ],
            reasons=reasons.get(row.item, []),
            flags=flags.get(row.item, []),
        )
        for row in page
    ]


def compared(source: Source) -> "QuerySet[Comparison]":
    return Comparison.objects.filter(study=source.study).select_related(
        "response_a__prompt", "response_a__system", "response_b__system"
    )


def texts_of(source: Source, comparison: Comparison) -> list[Text]:
    """Both responses: by name of system, or while blind by number in an order of their own."""
    both = [comparison.response_a, comparison.response_b]
    if not source.blind:
        return [Text(response.system.name, response.text) for response in both]
    draw = hashlib.sha256(f"{source.study.seed}:reading:{comparison.pk}".encode()).digest()
    if draw[0] % 2:
        both.reverse()
    return [Text(f"Response {number}", response.text) for number, response in enumerate(both, start=1)]


def split(source: Source, comparison: Comparison, votes: Counts) -> str:
    a, b, ties = votes.get("A", 0), votes.get("B", 0), votes.get("tie", 0)
    if source.blind:
        more, fewer = max(a, b), min(a, b)
        return f"{more} against {fewer}, {ties} tie{'' if ties == 1 else 's'}"
    return f"{comparison.response_a.system.name} {a}, tie {ties}, {comparison.response_b.system.name} {b}"


def flags_of(source: Source) -> "QuerySet[SafetyFlag]":
    """The flags of the selection's raters, newest first."""
    flags = SafetyFlag.objects.filter(
        assignment__comparison__study=source.study, assignment__rater__name__in=list(source.raters)
    )
    if source.selection.stratum:
        flags = flags.filter(assignment__comparison__stratum=source.selection.stratum)
    paths = ("response_a__prompt", "response_a__system", "response_b__system")
    return flags.select_related("assignment__rater", *(f"assignment__comparison__{path}" for path in paths)).order_by(
        "-pk"
    )


def flag_words(flag: SafetyFlag) -> str:
    note = f": {flag.note}" if flag.note else ""
    return f"{flag.assignment.rater.name}: {flag.get_kind_display().lower()}{note}"


def flagged(source: Source, page: Iterable[SafetyFlag]) -> list[Flagged]:
    return [Flagged(flag, flag.assignment.rater.name, flagged_texts(source, flag)) for flag in page]


def flagged_texts(source: Source, flag: SafetyFlag) -> list[Text]:
    """The flagged response, or while blind both: who can look one up would know which system was flagged."""
    if source.blind:
        return texts_of(source, flag.assignment.comparison)
    return [Text(response.system.name, response.text) for response in flagged_responses(flag)]


def flagged_responses(flag: SafetyFlag) -> list[Response]:
    assignment = flag.assignment
    left, right = assignment.left, assignment.right
    return {Side.LEFT: [left], Side.RIGHT: [right], Side.BOTH: [left, right]}[Side(flag.side)]


def flag_sections(source: Source) -> tuple[Section, ...]:
    """How many flags of each kind; once unblinded, by system too. Flags on practice pairs are read, not counted."""
    real = flags_of(source).filter(assignment__comparison__calibration=False)
    columns: tuple[str, ...] = ("Kind", "Flags")
    rows: list[tuple[Any, ...]] = []
    if source.blind:
        counts = dict(real.order_by().values_list("kind").annotate(Count("pk")))
        rows = [(kind.label, counts.get(kind, 0)) for kind in FlagKind]
    else:
        raised = [(flag.kind, response.system.name) for flag in real for response in flagged_responses(flag)]
        systems = sorted({system for _, system in raised})
        columns = ("Kind", *systems)
        rows = [(kind.label, *(raised.count((kind, system)) for system in systems)) for kind in FlagKind]
    table = Table("flags", source.caption("Safety flags raised by clinicians", source.clinicians), columns, tuple(rows))
    return (Section("Safety flags", tables=(table,) if real.exists() else (), empty="No clinician raised a flag."),)
