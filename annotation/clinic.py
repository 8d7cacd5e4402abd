"""A clinician's pairs of one study: what comes next, how far they are, and what practice showed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from annotation.models import Assignment, Choice, Rater, ReferenceVerdict, SafetyFlag, Verdict
from annotation.working_time import Span, Work, current_session, work


@dataclass(frozen=True)
class Pair:
    """`position` stands in addresses; `number` counts practice pairs and the others apart."""

    position: int
    number: int
    total: int
    practice: bool
    opened_at: datetime | None
    submitted_at: datetime | None

    def __str__(self) -> str:
        return f"{'Practice' if self.practice else 'Pair'} {self.number} of {self.total}"


@dataclass(frozen=True)
class Course:
    """A clinician's visible pairs, practice first. Practice is not counted in what is to do and what is done."""

    rater: Rater
    pairs: list[Pair]

    @property
    def judged(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.submitted_at and not pair.practice]

    @property
    def done(self) -> int:
        return len(self.judged)

    @property
    def total(self) -> int:
        return sum(not pair.practice for pair in self.pairs)

    @property
    def next(self) -> Pair | None:
        return next((pair for pair in self.pairs if not pair.submitted_at), None)

    def session(self, now: datetime) -> list[Pair]:
        """What was judged since the last break."""
        ends = {end for _, end in current_session(spans(self.judged), now=now)}
        return [pair for pair in self.judged if pair.submitted_at in ends]

    def around(self, position: int) -> tuple[Pair | None, Pair, Pair | None]:
        """The pair before, the pair at the position, and the pair after it."""
        index = next(i for i, pair in enumerate(self.pairs) if pair.position == position)
        before = self.pairs[index - 1] if index else None
        return before, self.pairs[index], next(iter(self.pairs[index + 1 :]), None)


def courses(raters: Iterable[Rater]) -> list[Course]:
    """The course of each rater, in one query."""
    raters = list(raters)
    given = Assignment.objects.visible().filter(rater__in=raters).order_by("-comparison__calibration", "position")
    columns = ("rater", "comparison__calibration", "position", "opened_at", "submitted_at")
    rows: dict[int, list[tuple[bool, int, datetime | None, datetime | None]]] = {rater.pk: [] for rater in raters}
    for rater, *row in given.values_list(*columns):
        rows[rater].append(tuple(row))
    return [Course(rater, _numbered(rows[rater.pk])) for rater in raters]


def _numbered(rows: list[tuple[bool, int, datetime | None, datetime | None]]) -> list[Pair]:
    pairs = []
    for practice, group in groupby(rows, key=lambda row: row[0]):
        alike = list(group)
        pairs += [
            Pair(position, number, len(alike), practice, opened_at, submitted_at)
            for number, (_, position, opened_at, submitted_at) in enumerate(alike, start=1)
        ]
    return pairs


@dataclass(frozen=True)
class Feedback:
    """Practice on one criterion: the clinician's verdict beside the study team's, as sides of the page."""

    criterion: str
    given: str
    expected: str
    explanation: str


SEEN = {Choice.LEFT: "A", Choice.TIE: "tie", Choice.RIGHT: "B", Choice.CANNOT: "cannot judge"}


def feedback(assignment: Assignment) -> list[Feedback]:
    """Of a practice pair that was submitted; empty of any other."""
    if not assignment.comparison.calibration or not assignment.submitted_at:
        return []
    given = {verdict.criterion_id: SEEN[Choice(verdict.choice)] for verdict in assignment.verdicts.all()}
    sides = {"A": "A", "tie": "tie", "B": "B"} if assignment.a_on_left else {"A": "B", "tie": "tie", "B": "A"}
    references = ReferenceVerdict.objects.filter(comparison=assignment.comparison_id).select_related("criterion")
    return [
        Feedback(row.criterion.name, given.get(row.criterion_id, "no verdict"), sides[row.winner], row.explanation)
        for row in references
    ]


@dataclass(frozen=True)
class Tally:
    """What came of some pairs."""

    work: Work
    cannot: int
    flags: int


def tally(rater: Rater, pairs: Sequence[Pair]) -> Tally:
    of_pairs = {"assignment__rater": rater, "assignment__position__in": [pair.position for pair in pairs]}
    return Tally(
        work(spans(pairs)),
        cannot=Verdict.objects.filter(choice=Choice.CANNOT, **of_pairs).count(),
        flags=SafetyFlag.objects.filter(**of_pairs).count(),
    )


def spans(pairs: Iterable[Pair]) -> list[Span]:
    return [(pair.opened_at, pair.submitted_at) for pair in pairs if pair.opened_at and pair.submitted_at]
