"""Cohen's kappa of many pairs of raters, from sums over items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluation.bootstrap import Features, FloatArray, IntArray, Part, ratio
from evaluation.coefficients import beyond_chance
from evaluation.ratings import Ratings

# Bounds the memory where many raters share a file.
PAIRS_AT_ONCE = 32
ONE_CATEGORY = "every rating is of one category, so nothing is left above chance"
NOTHING_SHARED = "they rated no item in common"


@dataclass(frozen=True)
class PairFeatures:
    """Features of which the first are items on which each pair agrees, and where the margins of the pairs are.

    Attributes:
        first, second: rows of the features that count what each of a pair gave. Shape: (pairs, groups, categories)
        shared: units that both of a pair rated. Shape: (pairs,)
    """

    features: Features
    first: IntArray
    second: IntArray
    shared: IntArray

    def agreement(self, sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Percent agreement and Cohen's kappa. Shape: (features, resamples) -> (pairs, resamples) twice"""
        first, second = sums[self.first], sums[self.second]
        sizes = first.sum(axis=2)
        # What chance would give in each group, as a number of items; a group without any has products of 0.
        expected = np.einsum("pgcr,pgcr->pgr", first, second) / np.maximum(sizes, 1)
        total = sizes.sum(axis=1)
        observed = ratio(sums[: len(self.first)], total)
        return observed, beyond_chance(observed, ratio(expected.sum(axis=1), total))


def kappas(ratings: Ratings) -> Iterator[Part]:
    """Cohen's kappa of each pair of raters, named R1|R2."""
    pairs = list(combinations(range(len(ratings.raters)), 2))
    complete = bool((ratings.codes >= 0).all())
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = np.array(pairs[start : start + PAIRS_AT_ONCE])
        first, second = ratings.codes[some[:, 0]], ratings.codes[some[:, 1]]
        found = of_complete(ratings, some) if complete else pair_features(ratings, first, second)
        names = [f"{ratings.raters[a]}|{ratings.raters[b]}" for a, b in some]
        yield kappa_part(found, [("cohen_kappa", name) for name in names])


def kappa_part(found: PairFeatures, paths: Sequence[tuple[str, ...]]) -> Part:
    shared = found.shared.tolist()
    reasons = [ONE_CATEGORY if n else NOTHING_SHARED for n in shared]
    return Part(found.features, lambda sums: [found.agreement(sums)[1]], paths, shared, reasons)


def of_complete(ratings: Ratings, pairs: IntArray) -> PairFeatures:
    """Where everyone rated everything, a rater's margin is the same in each pair, so it is summed once."""
    first, second = ratings.codes[pairs[:, 0]], ratings.codes[pairs[:, 1]]
    units, cells = len(ratings.clusters), ratings.groups * len(ratings.categories)
    margins = ratings.group * len(ratings.categories) + ratings.codes[:, None, :] == np.arange(cells)[:, None]
    features = np.vstack([first == second, margins.reshape(len(ratings.raters) * cells, units)])
    rows = len(pairs) + pairs[:, :, None] * cells + np.arange(cells)
    places = rows.reshape(len(pairs), 2, ratings.groups, -1)
    return PairFeatures(ratings.counted(features), places[:, 0], places[:, 1], np.full(len(pairs), units))


def pair_features(ratings: Ratings, first: IntArray, second: IntArray) -> PairFeatures:
    """Of any two rows of codes, -1 for none. Shape of each: (pairs, units)"""
    count, size = len(first), len(ratings.categories)
    pair, unit = np.nonzero((first >= 0) & (second >= 0))
    codes = first[pair, unit], second[pair, unit]
    same = codes[0] == codes[1]
    places = count + np.arange(2 * count * ratings.groups * size).reshape(2, count, ratings.groups, size)
    margins = (places[side, pair, ratings.group[unit], codes[side]] for side in (0, 1))
    rows = np.concatenate([pair[same], *margins])
    features = ratings.cells(rows, np.concatenate([unit[same], unit, unit]), count + places.size)
    return PairFeatures(features, places[0], places[1], np.bincount(pair, minlength=count))
