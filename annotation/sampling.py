"""Which prompts clinicians judge: a sample of the test split in proportion to its strata, drawn by seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import quantiles

import numpy as np

from annotation.errors import InputError

LENGTHS = ("short", "medium", "long")


def strata_of(risks: Sequence[bool], lengths: Sequence[int]) -> list[str]:
    """The stratum of each prompt, such as "risk, long": whether it suggests a risk of harm, and its tertile of length.

    A length on the border of two tertiles is of the shorter one, so prompts of one length are of one stratum.
    """
    borders = quantiles(lengths, n=3, method="inclusive") if len(lengths) > 1 else []
    return [
        f"{'risk' if risk else 'no risk'}, {LENGTHS[sum(length > border for border in borders)]}"
        for risk, length in zip(risks, lengths, strict=True)
    ]


def draw_sample(strata: Sequence[str], size: int, seed: int) -> list[int]:
    """The items drawn, ascending: `size` of them without replacement, from each stratum in proportion to its items.

    Args:
        strata: the stratum of each item.

    Raises:
        InputError: `size` is not between 1 and the number of items.
    """
    if not 1 <= size <= len(strata):
        raise InputError(f"{size} prompts cannot be drawn: choose 1 to {len(strata)}, the prompts there are")
    counts = Counter(strata)
    sizes = largest_remainder(size, {name: counts[name] / len(strata) for name in sorted(counts)})
    drawn = []
    for item in np.random.default_rng(seed).permutation(len(strata)).tolist():
        if sizes[strata[item]]:
            sizes[strata[item]] -= 1
            drawn.append(item)
    return sorted(drawn)


def largest_remainder(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole sizes that sum to `total` and lie nearest to the shares."""
    # Rounded, so that 0.28 * 25 = 7.000000000000001 leaves no remainder.
    exact = {name: round(share * total, 9) for name, share in shares.items()}
    sizes = {name: int(size) for name, size in exact.items()}
    by_remainder = sorted(exact, key=lambda name: sizes[name] - exact[name])
    for name in by_remainder[: total - sum(sizes.values())]:
        sizes[name] += 1
    return sizes
