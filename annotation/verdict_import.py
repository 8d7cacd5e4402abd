"""Verdicts that clinicians or judges gave elsewhere, on paper or with another tool, into a study.

All is checked before anything is stored. The same file again changes nothing, a longer one adds what is new.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import models, transaction
from django.utils import timezone

from annotation.models import Assignment, Comparison, Rater, RaterKind, Study, Verdict
from annotation.verdict_sheets import RaterFacts, Sheet, StudyContent, read_sheets, side_column

BATCH = 2000
Key = tuple[str, tuple[int, int], int]


@dataclass(frozen=True)
class ImportedVerdicts:
    """What is new, and what was there before.

    Attributes:
        presentations: how often a rater saw a pair.
        single: pairs that a judge of the file saw in one order only; no analysis counts them.
    """

    verdicts: int
    presentations: int
    comparisons: int
    raters: int
    single: int
    before: int


@transaction.atomic
def import_verdicts(
    path: Path, study: Study, *, criteria: Mapping[str, str] | None = None, dry_run: bool = False
) -> ImportedVerdicts:
    """Store the file's verdicts; comparisons and raters are made where there were none.

    Args:
        criteria: {criterion of the file: key in the study}, for those named otherwise.
        dry_run: check and count, and store nothing.

    Raises:
        InputError: the file is wrong, or differs from verdicts that are there; the message names file, row and column.
        StudyError: the study is locked.
    """
    # Two imports at once would both find the same verdicts missing; the second waits for the first.
    Study.objects.select_for_update().get(pk=study.pk)
    study.require_unlocked()
    keys = {name: study.criterion(key).key for name, key in (criteria or {}).items()}
    sheets, facts = read_sheets(path, StudyContent(study, keys))
    raters = known_raters(study, facts)
    comparisons = known_comparisons(study, sheets)
    there = assignments_of(raters.values())
    new = [sheet for sheet in sheets if not stands(sheet, there.get(sheet.key))]
    seen = {key: assignment.a_on_left for key, assignment in there.items()}
    seen |= {sheet.key: sheet.a_on_left for sheet in new}
    judges = {name for name, rater in facts.items() if rater.kind == RaterKind.JUDGE}
    for sheet in new:
        require_first_look(sheet, seen, judged=sheet.first.rater in judges)
    if new and not dry_run:
        store(study, path, new, facts, raters, comparisons)
    return ImportedVerdicts(
        verdicts=sum(len(sheet.lines) for sheet in new),
        presentations=len(new),
        comparisons=len({sheet.pair for sheet in new} - comparisons.keys()),
        raters=len({sheet.first.rater for sheet in new} - raters.keys()),
        single=sum((rater, pair, 2) not in seen for rater, pair, look in seen if rater in judges and look == 1),
        before=sum(len(sheet.lines) for sheet in sheets) - sum(len(sheet.lines) for sheet in new),
    )


def known_raters(study: Study, facts: Mapping[str, RaterFacts]) -> dict[str, Rater]:
    """Those of the file's raters whom the study has, by name.

    Raises:
        InputError: one has withdrawn, or is not what the file says.
    """
    known = {rater.name: rater for rater in study.raters.all() if rater.name in facts}
    for name, rater in known.items():
        told = facts[name]
        if rater.withdrawn_at:
            told.first.fail("rater", f"{name} has withdrawn: nothing of theirs is taken")
        if rater.kind != told.kind:
            told.first.fail("rater", f"{name} is a {rater.kind} in study {study.slug}, and here a {told.kind}")
        if told.simulated not in (None, rater.simulated):
            told.first.fail("simulated", f"study {study.slug} has {name} with simulated {str(rater.simulated).lower()}")
    return known


def known_comparisons(study: Study, sheets: Iterable[Sheet]) -> dict[tuple[int, int], Comparison]:
    """The study's comparisons by the ids of responses A and B.

    Raises:
        InputError: a sheet is of one for practice.
    """
    known = {(pair.response_a_id, pair.response_b_id): pair for pair in study.comparisons.all()}
    for sheet in sheets:
        if (pair := known.get(sheet.pair)) and pair.calibration:
            sheet.first.entry.fail("question_id", "this pair is for practice in this study: leave it out")
    return known


def assignments_of(raters: Iterable[Rater]) -> dict[Key, Assignment]:
    found = Assignment.objects.filter(rater__in=list(raters)).select_related("rater", "comparison")
    return {
        (own.rater.name, (own.comparison.response_a_id, own.comparison.response_b_id), own.presentation): own
        for own in found.prefetch_related("verdicts")
    }


def stands(sheet: Sheet, there: Assignment | None) -> bool:
    """Whether the sheet's verdicts are in the study.

    Raises:
        InputError: others are in their place.
    """
    if there is None:
        return False
    first = sheet.first
    if there.submitted_at is None:
        first.entry.fail("rater", f"{first.rater} was given this pair in this study and has not submitted it yet")
    if there.a_on_left != sheet.a_on_left:
        first.entry.fail(side_column(first.entry), "the study has this presentation with the sides swapped")
    choices = {verdict.criterion_id: verdict.choice for verdict in there.verdicts.all()}
    for criterion, line in sheet.lines.items():
        if choices.get(criterion.pk) != line.choice:
            given = choices.get(criterion.pk, "none")
            line.entry.fail(
                "verdict", f"the study has another verdict of {line.rater} here, {given}: it is not replaced"
            )
    for column in ("reason", "submitted_at", "seconds"):
        told = getattr(sheet, column)
        if told is not None and told != getattr(there, column):
            first.entry.fail(column, f"the study has another {column} here: what was submitted is not replaced")
    return True


def require_first_look(sheet: Sheet, seen: Mapping[Key, bool], *, judged: bool) -> None:
    """Raise InputError for a second presentation without a first, and for a judge's with the sides as they were."""
    rater, pair, presentation = sheet.key
    if presentation == 1:
        return
    first = seen.get((rater, pair, 1))
    if first is None:
        sheet.first.entry.fail("presentation", f"{rater} never saw this pair a first time")
    if judged and first == sheet.a_on_left:
        sheet.first.entry.fail(side_column(sheet.first.entry), "a judge sees a pair again with the sides swapped")


def store(
    study: Study,
    path: Path,
    sheets: Sequence[Sheet],
    facts: Mapping[str, RaterFacts],
    raters: Mapping[str, Rater],
    comparisons: Mapping[tuple[int, int], Comparison],
) -> None:
    made = [
        Rater(study=study, name=name, kind=told.kind, simulated=bool(told.simulated))
        for name, told in facts.items()
        if name not in raters
    ]
    raters = {**raters, **{rater.name: rater for rater in Rater.objects.bulk_create(made)}}
    pairs = dict.fromkeys(sheet.pair for sheet in sheets if sheet.pair not in comparisons)
    new_pairs = [Comparison(study=study, response_a_id=a, response_b_id=b) for a, b in pairs]
    comparisons = {**comparisons, **dict(zip(pairs, Comparison.objects.bulk_create(new_pairs, BATCH), strict=True))}
    last = dict(study.raters.values_list("name").annotate(last=models.Max("assignments__position", default=0)))
    now = timezone.now()
    ends = [sheet.submitted_at or now for sheet in sheets]
    assignments = []
    for sheet, end in zip(sheets, ends, strict=True):
        name, pair, _ = sheet.key
        last[name] += 1
        assignments.append(assignment_of(sheet, raters[name], comparisons[pair], last[name], end))
    Assignment.objects.bulk_create(assignments, BATCH)
    verdicts = [
        Verdict(assignment=assignment, criterion=criterion, choice=line.choice)
        for assignment, sheet in zip(assignments, sheets, strict=True)
        for criterion, line in sheet.lines.items()
    ]
    Verdict.objects.bulk_create(verdicts, BATCH)
    # Last, since the database takes no more verdicts then.
    for assignment, end in zip(assignments, ends, strict=True):
        assignment.submitted_at = end
    Assignment.objects.bulk_update(assignments, ["submitted_at"], BATCH)
    study.auditevent_set.create(
        action="verdicts.import",
        subject=f"study {study.slug}",
        new={"file": path.name, "verdicts": len(verdicts), "raters": sorted({sheet.first.rater for sheet in sheets})},
    )


def assignment_of(sheet: Sheet, rater: Rater, comparison: Comparison, position: int, end: datetime) -> Assignment:
    return Assignment(
        comparison=comparison,
        rater=rater,
        presentation=sheet.first.presentation,
        position=position,
        a_on_left=sheet.a_on_left,
        opened_at=None if sheet.seconds is None else end - timedelta(seconds=sheet.seconds),
        reason=sheet.reason or "",
    )
