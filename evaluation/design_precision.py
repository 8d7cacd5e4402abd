"""The precision to expect of a design and of its alternatives, kept in the cache: it is a simulation."""

import hashlib
from dataclasses import dataclass

from django.core.cache import cache

from annotation.models import JudgingDesign
from evaluation.power import MOST_PER_ITEM, Assumptions, Precision, expected_precision
from evaluation.statistics import Statistic

KEPT_FOR = 60 * 60 * 24 * 7
# Raters assumed while a study has too few clinicians: as many as in the paper.
RATERS = 6


@dataclass(frozen=True)
class Expectation:
    """What one pair of systems may expect of so many items and raters an item; `chosen` marks the design itself."""

    precision: Precision
    chosen: bool

    @property
    def cells(self) -> list[tuple[Statistic, float | None]]:
        """Win rate, percent agreement and alpha, each with the width of its interval."""
        names = ("win_rate", "percent_agreement", "krippendorff_alpha")
        return [(getattr(self.precision, name), self.precision.width(name)) for name in names]


def raters_assumed(design: JudgingDesign, clinicians: int) -> int:
    """The clinicians there are, or as many as are assumed while they are too few for the design."""
    enough = design.raters_per_pair or 1
    return clinicians if clinicians >= enough else max(RATERS, enough)


def expectations(design: JudgingDesign, *, raters: int, assumptions: Assumptions | None = None) -> list[Expectation]:
    """Of the design, of half and of twice its prompts, and of two, half and all of the raters a pair."""
    most = min(raters, MOST_PER_ITEM)
    chosen = (design.prompts, min(design.raters_per_pair or most, most))
    numbers = {max(1, design.prompts // 2), design.prompts, 2 * design.prompts}
    overlaps = {min(2, most), (most + 1) // 2, most, chosen[1]}
    return [
        Expectation(kept_precision(assumptions or Assumptions(), items, raters, per_item), (items, per_item) == chosen)
        for items in sorted(numbers)
        for per_item in sorted(overlaps)
    ]


def kept_precision(assumptions: Assumptions, items: int, raters: int, per_item: int) -> Precision:
    asked = repr((assumptions, items, raters, per_item))
    key = f"precision:{hashlib.sha256(asked.encode()).hexdigest()}"
    precision: Precision | None = cache.get(key)
    if precision is None:
        precision = expected_precision(assumptions, items=items, raters=raters, per_item=per_item)
        cache.set(key, precision, KEPT_FOR)
    return precision
