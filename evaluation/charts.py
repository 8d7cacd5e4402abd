"""What the report's figures show, as data: drawn by `evaluation.figures`, told apart and cached by their content."""

import hashlib
from dataclasses import dataclass

from evaluation.statistics import Statistic


@dataclass(frozen=True)
class Bars:
    """Shares of verdicts for system A, tie and system B, a bar a criterion."""

    system_a: str
    system_b: str
    rows: tuple[tuple[str, Statistic, Statistic, Statistic], ...]
    note: str


@dataclass(frozen=True)
class Dots:
    """A statistic between 0 and 1 of several series, a row a criterion."""

    axis: str
    series: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Statistic, ...]], ...]
    note: str
    # Where a line is drawn, such as at what chance or no bias would give.
    reference: float | None = None


@dataclass(frozen=True)
class Panel:
    """A table of counts: labels of one rater in rows, of the other in columns. Shape: (labels, labels)"""

    title: str
    counts: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        return sum(map(sum, self.counts))


@dataclass(frozen=True)
class Confusion:
    """Tables of counts side by side, all with the same labels. `down` and `across` say whose are rows and columns."""

    labels: tuple[str, ...]
    down: str
    across: str
    panels: tuple[Panel, ...]
    note: str


@dataclass(frozen=True)
class Drift:
    """Agreement (a share) and seconds over the stretches of a session, each named by its positions."""

    stretches: tuple[tuple[str, Statistic, Statistic], ...]
    note: str


@dataclass(frozen=True)
class Policy:
    """A point of a trade-off: its label, whether it is on the front, and a statistic a criterion, the primary first."""

    label: str
    on_front: bool
    values: tuple[Statistic, ...]


@dataclass(frozen=True)
class Tradeoff:
    """Win rates over the base model on the primary criterion (up) and on each other one (across), a panel each.

    `criteria` are names, the primary first; `floors` are those of the criteria in the same order.
    """

    criteria: tuple[str, ...]
    policies: tuple[Policy, ...]
    floors: tuple[float | None, ...]
    note: str


@dataclass(frozen=True)
class Place:
    """A system by its win rates on two criteria; `published` ones are the paper's."""

    name: str
    published: bool
    x: Statistic
    y: Statistic


@dataclass(frozen=True)
class Plane:
    """Systems by two win rates between 0 and 1, ours beside the paper's."""

    x_axis: str
    y_axis: str
    places: tuple[Place, ...]
    note: str


@dataclass(frozen=True)
class Chart:
    """A figure of the report page: `name` stands in its address, `alt` says what it shows to who cannot see it."""

    name: str
    caption: str
    alt: str
    data: Bars | Dots | Confusion | Drift

    @property
    def digest(self) -> str:
        """Changes when, and only when, the drawing does."""
        return hashlib.sha256(repr(self.data).encode()).hexdigest()[:16]
