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


@dataclass(frozen=True)
class Chart:
    """A figure of the report page: `name` stands in its address, `alt` says what it shows to who cannot see it."""

    name: str
    caption: str
    alt: str
    data: Bars | Dots

    @property
    def digest(self) -> str:
        """Changes when, and only when, the drawing does."""
        return hashlib.sha256(repr(self.data).encode()).hexdigest()[:16]
