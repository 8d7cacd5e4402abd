"""Coefficients of agreement, for many resamples at once.

Each takes counts, how many raters gave a unit each category, shape (units, categories), and weights, how often each
unit stands in each resample, shape (resamples, units), by default the data themselves. Each returns one value a
resample, NaN where it is undefined. Shape: (resamples,)

All of them follow from a few sums over units: `features` says what a unit adds to each, `Sums` names them. Where
labels mean different things in groups of units, as A does in two pairs of systems, or come with different frequencies,
as on two criteria, chance is that within the groups: what was observed and what was expected are summed over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from evaluation.bootstrap import FloatArray, IntArray, ratio

LEVELS = ("nominal", "ordinal", "interval", "ratio")
# Below this, what is left above chance is rounding.
NOTHING = 1e-12


@dataclass(frozen=True)
class Sums:
    """Sums over the units of each group. Shape of each: (groups, resamples) or (groups, categories, resamples)

    Attributes:
        pairable, rated: units with two ratings or more, with one or more.
        shares: of agreeing pairs of raters, a unit's share each.
        agreeing, pairs: pairs of raters.
        prevalence: of each category, the share of a unit's ratings each.
        totals: values of each category in pairable units.
        discord: coincidences of two categories (Krippendorff's o_ck, c < k). Shape: (groups, pairs of categories,
            resamples)
    """

    pairable: FloatArray
    shares: FloatArray
    agreeing: FloatArray
    pairs: FloatArray
    rated: FloatArray
    prevalence: FloatArray
    totals: FloatArray
    discord: FloatArray

    @classmethod
    def of(cls, sums: FloatArray, categories: int, groups: int = 1) -> "Sums":
        """From the sums of `features`, group after group. Shape: (groups x features, resamples)"""
        ends = 5 + categories, 5 + 2 * categories
        by_group = sums.reshape(groups, -1, sums.shape[1])
        pairable, shares, agreeing, pairs, rated = by_group[:, :5].swapaxes(0, 1)
        rest = by_group[:, 5 : ends[0]], by_group[:, ends[0] : ends[1]], by_group[:, ends[1] :]
        return cls(pairable, shares, agreeing, pairs, rated, *rest)


def features(counts: FloatArray) -> FloatArray:
    """What each unit adds to each of the `Sums`. Shape: (categories, units) -> (features, units)"""
    raters = counts.sum(axis=0)
    lower, upper = two_of(len(counts))
    discord = counts[lower] * counts[upper] / np.maximum(raters - 1, 1)
    rated = raters > 0
    return np.vstack([pair_features(counts), rated, counts / np.maximum(raters, 1), counts * (raters > 1), discord])


def pair_features(counts: FloatArray) -> FloatArray:
    """The first four of the `features`: pairable, share, agreeing, pairs. Shape: (categories, units) -> (4, units)"""
    raters = counts.sum(axis=0)
    pairs = raters * (raters - 1) / 2
    agreeing = (counts * (counts - 1)).sum(axis=0) / 2
    return np.vstack([pairs > 0, agreeing / np.maximum(pairs, 1), agreeing, pairs])


def sums_of(counts: FloatArray, weights: FloatArray | None) -> Sums:
    of_units = features(counts.T)
    weights = np.ones((1, len(counts))) if weights is None else weights
    return Sums.of(of_units @ weights.T, counts.shape[1])


def percent_agreement(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Mean over units of the share of agreeing pairs of raters."""
    return percent(sums_of(counts, weights))


def pairwise_agreement(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Agreeing pairs of raters over all pairs."""
    return pairwise(sums_of(counts, weights))


def fleiss_kappa(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Fleiss' kappa, generalised to missing ratings (Gwet 2014, Handbook of Inter-Rater Reliability, ch. 2).

    Units with one rating count for chance agreement alone. With complete data it is Fleiss (1971).
    """
    return fleiss(sums_of(counts, weights))


def gwet_ac1(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Gwet's AC1 (Gwet 2008, eq. 5-7; missing ratings as in Gwet 2014). Categories are those that anyone used."""
    return ac1(sums_of(counts, weights), int(counts.any(axis=0).sum()))


def brennan_prediger(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Brennan and Prediger's kappa (1981): chance is one in the number of categories, used or not."""
    chance = np.array(1 / counts.shape[1])
    return beyond_chance(percent_agreement(counts, weights), chance)


def krippendorff_alpha(
    counts: FloatArray,
    weights: FloatArray | None = None,
    *,
    level: str = "nominal",
    values: Sequence[float] | None = None,
) -> FloatArray:
    """Krippendorff's alpha = 1 - D_o / D_e (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability).

    Args:
        level: nominal, ordinal with the categories in their order, interval or ratio.
        values: the number that each category stands for, which the levels interval and ratio need.

    Raises:
        ValueError: the level is another one, or lacks its values.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, not {level!r}")
    if level in LEVELS[2:] and (values is None or len(values) != counts.shape[1]):
        raise ValueError(f"level {level} needs the value of each category")
    return alpha(sums_of(counts, weights), level, values)


def scott_pi(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Scott's pi (1955) over the units that both of two raters rated."""
    both = counts.sum(axis=1) == 2
    return scott(sums_of(counts[both], None if weights is None else weights[:, both]))


def cohen_kappa(tables: FloatArray) -> FloatArray:
    """Cohen's kappa (1960) of tables, first rater in rows. Shape: (..., categories, categories) -> (...)"""
    total = tables.sum(axis=(-2, -1))
    observed = ratio(np.trace(tables, axis1=-2, axis2=-1), total)
    margins = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    return beyond_chance(observed, ratio(margins, total**2))


def conger_kappa(codes: FloatArray) -> FloatArray:
    """Conger's kappa (1980), Cohen's of many raters, with missing ratings as in Gwet (2014, ch. 2).

    Args:
        codes: the value each rater gave, NaN for none. Shape: (units, raters)
    """
    values = np.unique(codes[~np.isnan(codes)])
    own = (codes[:, :, None] == values).astype(np.float64)
    shares = ratio(own.sum(axis=0), own.sum(axis=(0, 2))[:, None])
    raters = shares.shape[0]
    chance = (shares.mean(axis=0) ** 2 - shares.var(axis=0, ddof=1) / raters).sum(keepdims=True)
    return beyond_chance(percent_agreement(own.sum(axis=1)), chance)


def percent(sums: Sums) -> FloatArray:
    return ratio(sums.shares.sum(axis=0), sums.pairable.sum(axis=0))


def pairwise(sums: Sums) -> FloatArray:
    return ratio(sums.agreeing.sum(axis=0), sums.pairs.sum(axis=0))


def fleiss(sums: Sums) -> FloatArray:
    return beyond_chance(percent(sums), within(sums, (prevalences(sums) ** 2).sum(axis=1)))


def ac1(sums: Sums, used: int) -> FloatArray:
    """Of `used` categories."""
    if used < 2:
        return np.full(sums.rated.shape[1:], np.nan)
    shares = prevalences(sums)
    return beyond_chance(percent(sums), within(sums, (shares * (1 - shares)).sum(axis=1) / (used - 1)))


def scott(sums: Sums) -> FloatArray:
    """Of two raters: chance from the units that both rated."""
    shares = ratio(sums.totals, 2 * sums.pairable[:, None])
    return beyond_chance(percent(sums), within(sums, (shares**2).sum(axis=1)))


def prevalences(sums: Sums) -> FloatArray:
    return ratio(sums.prevalence, sums.rated[:, None])


def within(sums: Sums, chance: FloatArray) -> FloatArray:
    """The chance agreement of all groups from that of each. Shape: (groups, resamples) -> (resamples,)"""
    expected = np.where(sums.pairable > 0, sums.pairable * chance, 0.0)
    return ratio(expected.sum(axis=0), sums.pairable.sum(axis=0))


def alpha(sums: Sums, level: str, values: Sequence[float] | None = None) -> FloatArray:
    distance = distances(sums.totals, level, values)
    lower, upper = two_of(sums.totals.shape[1])
    disagreement = (sums.discord * distance).sum(axis=(0, 1))
    products = (sums.totals[:, lower] * sums.totals[:, upper] * distance).sum(axis=1)
    return 1 - ratio(disagreement, (products / np.maximum(sums.totals.sum(axis=1) - 1, 1)).sum(axis=0))


def distances(totals: FloatArray, level: str, values: Sequence[float] | None) -> FloatArray:
    """Squared distance of each two categories. Shape: (groups or 1, pairs of categories, resamples or 1)"""
    lower, upper = two_of(totals.shape[1])
    if level == "nominal":
        return np.ones((1, len(lower), 1))
    # Ordinal: the distance of c and k is the number of values between the middles of the two, counted in the data.
    ordinal = level == "ordinal"
    places = totals.cumsum(axis=1) - totals / 2 if ordinal else np.asarray(values, np.float64)[None, :, None]
    gap = places[:, lower] - places[:, upper]
    return np.asarray(gap**2 if level != "ratio" else ratio(gap, places[:, lower] + places[:, upper]) ** 2)


@cache
def two_of(categories: int) -> tuple[IntArray, IntArray]:
    """Each two categories, the lower and the upper. Shape of each: (pairs of categories,)"""
    return np.triu_indices(categories, 1)


def beyond_chance(observed: FloatArray, chance: FloatArray) -> FloatArray:
    room = np.where(1 - chance > NOTHING, 1 - chance, 0.0)
    return ratio(observed - chance, room)
