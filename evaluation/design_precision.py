"""The precision to expect of a design and of its alternatives, kept in the cache: it is a simulation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.cache import cache

from annotation.models import JudgingDesign
from evaluation.power import MOST_PER_ITEM, Assumptions, Precision, expected_precision

KEPT_FOR = 60 * 60 * 24 * 7
# Raters where the study has no clinicians yet: as many as in the paper.
RATERS = 6


@dataclass(frozen=True)
class Alternative:
    """Pairs of responses and raters a pair; `chosen` is the design itself."""

    items: int
    per_item: int
    chosen: bool


def alternatives(prompts: int, raters: int, raters_per_pair: int | None) -> list[Alternative]:
    """The design, half and twice its prompts, and two, half or all of the raters a pair."""
    most = min(raters, MOST_PER_ITEM)
    chosen = (prompts, min(raters_per_pair or most, most))
    numbers = {max(1, prompts // 2), prompts, 2 * prompts}
    overlaps = {min(2, most), (most + 1) // 2, most, chosen[1]}
    return [Alternative(n, k, (n, k) == chosen) for n in sorted(numbers) for k in sorted(overlaps)]


def precision_of(design: JudgingDesign, assumptions: Assumptions, raters: int) -> list[tuple[Alternative, Precision]]:
    """What each alternative may expect of one pair of systems, for that many raters in all."""
    return [
        (alternative, kept_precision(alternative, raters, assumptions))
        for alternative in alternatives(design.prompts, raters, design.raters_per_pair)
    ]


def kept_precision(alternative: Alternative, raters: int, assumptions: Assumptions) -> Precision:
    asked = (alternative.items, raters, alternative.per_item, assumptions)
    key = f"precision:{hashlib.sha256(repr(asked).encode()).hexdigest()}"
    precision: Precision | None = cache.get(key)
    if precision is None:
        precision = expected_precision(
            assumptions, items=alternative.items, raters=raters, per_item=alternative.per_item
        )
        cache.set(key, precision, KEPT_FOR)
    return precision


def chosen_precision(found: Sequence[tuple[Alternative, Precision]]) -> Precision:
    return next(precision for alternative, precision in found if alternative.chosen)
