"""Reading verdicts given elsewhere: the rows of a file, as one sheet a rater and presentation of a pair."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from annotation.files import Entry, read_csv
from annotation.models import Choice, Criterion, Prompt, RaterKind, Response, Study, System

REQUIRED = ("question_id", "rater", "criterion", "verdict")
SIDES = ("system_left", "system_right")
SYSTEMS = ("system_a", "system_b")
ORDERS = ("AB", "BA")
KINDS = (RaterKind.CLINICIAN, RaterKind.JUDGE)
TRUTH = {"true": True, "false": False}

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """A row of the file, with what it names found in the study."""

    entry: Entry
    rater: str
    presentation: int
    left: Response
    right: Response
    criterion: Criterion
    choice: Choice


@dataclass(frozen=True)
class Sheet:
    """A rater's verdicts on one presentation of a pair, the line of each judged criterion. Untold is None."""

    lines: dict[Criterion, Line]
    reason: str | None
    submitted_at: datetime | None
    seconds: float | None

    @property
    def first(self) -> Line:
        return next(iter(self.lines.values()))

    @property
    def a_on_left(self) -> bool:
        return self.first.left.system_id < self.first.right.system_id

    @property
    def pair(self) -> tuple[int, int]:
        """The ids of response A and response B."""
        left, right = self.first.left.pk, self.first.right.pk
        return (left, right) if self.a_on_left else (right, left)

    @property
    def key(self) -> tuple[str, tuple[int, int], int]:
        """Rater, pair and presentation: what there is one sheet of."""
        return self.first.rater, self.pair, self.first.presentation


@dataclass(frozen=True)
class RaterFacts:
    """What the file says of a rater, from the first row that names them on. Untold is None."""

    first: Entry
    kind: RaterKind
    simulated: bool | None


@dataclass(frozen=True)
class StudyContent:
    """What the rows of a file may name. `keys` leads from other names of criteria to the study's."""

    study: Study
    keys: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        return {prompt.key: prompt for prompt in self.study.prompts.defer("text")}

    @cached_property
    def systems(self) -> dict[str, System]:
        return {system.name: system for system in self.study.systems.all()}

    @cached_property
    def criteria(self) -> dict[str, Criterion]:
        return {criterion.key: criterion for criterion in self.study.criteria.filter(judged=True)}

    @cached_property
    def responses(self) -> dict[tuple[int, int], Response]:
        """The first response to each prompt of each system: those that are compared."""
        found = Response.objects.filter(prompt__study=self.study, number=1).defer("text")
        return {(response.prompt_id, response.system_id): response for response in found}

    def criterion(self, row: Entry) -> Criterion:
        name = row.text("criterion").strip()
        criterion = self.criteria.get(self.keys.get(name, name))
        if criterion is None:
            row.fail("criterion", f"the study judges no {name!r}: it has {', '.join(self.criteria)}")
        return criterion

    def response(self, row: Entry, column: str) -> Response:
        """The response to the row's prompt of the system that the column names."""
        prompt = self.prompts.get(row.text("question_id").strip())
        if prompt is None:
            row.fail("question_id", f"the study has no prompt {row.values['question_id']!r}")
        system = self.systems.get(row.text(column).strip())
        if system is None:
            row.fail(column, f"the study has no system {row.values[column]!r}: it has {', '.join(self.systems)}")
        response = self.responses.get((prompt.pk, system.pk))
        if response is None:
            row.fail(column, f"{system} has no response to prompt {prompt.key}: import it first")
        return response


def read_sheets(path: Path, content: StudyContent) -> tuple[list[Sheet], dict[str, RaterFacts]]:
    """The sheets in the order of the file, and what it says of the raters.

    Raises:
        InputError: something is unknown, contradictory, doubled or missing; the message names file, row and column.
    """
    rows = read_csv(path, *REQUIRED)
    if not all(column in rows[0] for column in SYSTEMS):
        read_csv(path, *SIDES)
    elif not all(column in rows[0] for column in SIDES):
        read_csv(path, "order")
    lines: dict[tuple[str, frozenset[int], int], list[Line]] = {}
    for row in rows:
        line = line_of(row, content)
        lines.setdefault((line.rater, frozenset({line.left.pk, line.right.pk}), line.presentation), []).append(line)
    return [sheet_of(own, content) for own in lines.values()], raters_of(rows)


def line_of(row: Entry, content: StudyContent) -> Line:
    columns = SIDES if SIDES[0] in row else SYSTEMS
    first, second = (content.response(row, column) for column in columns)
    if first == second:
        row.fail(columns[1], f"{row.values[columns[1]]!r} is compared with itself: name two systems")
    swapped = columns == SYSTEMS and one_of(row, "order", ORDERS) == "BA"
    left, right = (second, first) if swapped else (first, second)
    words = {"left": Choice.LEFT, "right": Choice.RIGHT}
    if columns == SYSTEMS:
        words = {"A": Choice.RIGHT, "B": Choice.LEFT} if swapped else {"A": Choice.LEFT, "B": Choice.RIGHT}
    words |= {"tie": Choice.TIE, "cannot": Choice.CANNOT}
    names = {row.text(column).strip(): response for column, response in zip(columns, (first, second), strict=True)}
    sides = {name: Choice.LEFT if response == left else Choice.RIGHT for name, response in names.items()}
    return Line(
        entry=row,
        rater=row.text("rater", max_length=80).strip(),
        presentation=int(one_of(row, "presentation", ("1", "2"))) if told(row, "presentation") else 1,
        left=left,
        right=right,
        criterion=content.criterion(row),
        choice=({**sides, **words})[one_of(row, "verdict", (*words, *sides))],
    )


def sheet_of(lines: Sequence[Line], content: StudyContent) -> Sheet:
    first = lines[0]
    before: dict[Criterion, Line] = {}
    for line in lines:
        if line.left != first.left:
            line.entry.fail(
                side_column(line.entry), f"the sides are not those of row {first.entry.line}, of the same presentation"
            )
        earlier = before.setdefault(line.criterion, line)
        if earlier is not line:
            line.entry.fail(
                "criterion", f"{line.rater} judged {line.criterion.key} before, in row {earlier.entry.line}"
            )
    if missing := [key for key, criterion in content.criteria.items() if criterion not in before]:
        said = f"{first.rater} has no verdict on {', '.join(missing)} of this pair"
        first.entry.fail("criterion", f"{said}: add it, with the word cannot where there was none")
    entries = [line.entry for line in lines]
    return Sheet(
        lines=before,
        reason=only(entries, "reason", lambda row: row.text("reason", max_length=2000).strip()),
        submitted_at=only(entries, "submitted_at", time_in),
        seconds=only(entries, "seconds", seconds_in),
    )


def raters_of(rows: Sequence[Entry]) -> dict[str, RaterFacts]:
    own: dict[str, list[Entry]] = {}
    for row in rows:
        own.setdefault(row.text("rater").strip(), []).append(row)
    return {
        name: RaterFacts(
            first=entries[0],
            kind=RaterKind(only(entries, "rater_kind", kind_in) or RaterKind.CLINICIAN),
            simulated=only(entries, "simulated", lambda row: TRUTH[one_of(row, "simulated", tuple(TRUTH))]),
        )
        for name, entries in own.items()
    }


def told(row: Entry, column: str) -> bool:
    return column in row and bool(row.values[column].strip())


def side_column(row: Entry) -> str:
    """The column that says which system stood on the left."""
    return SIDES[0] if SIDES[0] in row else "order"


def only(rows: Sequence[Entry], column: str, read: Callable[[Entry], T]) -> T | None:
    """What the rows say in an optional column, in which all that say anything must agree."""
    telling = [row for row in rows if told(row, column)]
    values = [read(row) for row in telling]
    for row, value in zip(telling, values, strict=True):
        if value != values[0]:
            row.fail(column, f"{row.values[column]!r} contradicts row {telling[0].line}, of the same rater")
    return values[0] if values else None


def one_of(row: Entry, column: str, words: Sequence[str]) -> str:
    word = row.text(column).strip()
    if word not in words:
        row.fail(column, f"{word!r} is not known here: write {', '.join(words[:-1])} or {words[-1]}")
    return word


def kind_in(row: Entry) -> str:
    return one_of(row, "rater_kind", KINDS)


def time_in(row: Entry) -> datetime:
    text = row.text("submitted_at").strip()
    try:
        time = parse_datetime(text)
    except ValueError:
        time = None
    if time is None or timezone.is_naive(time):
        row.fail("submitted_at", f"{text!r} is no time with its time zone: write it as 2026-03-01T09:30:00+01:00")
    if time > timezone.now():
        row.fail("submitted_at", f"{text!r} is still to come")
    return time


def seconds_in(row: Entry) -> float:
    text = row.text("seconds").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 10_000_000:
        row.fail("seconds", f"{text!r} is no number of seconds")
    # What the database keeps to the microsecond must be found equal when the file comes again.
    return round(seconds, 3)
