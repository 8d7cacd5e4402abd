"""Coefficients of agreement, for many resamples at once.

Each takes counts, how many raters gave a unit each category, shape (units, categories), and weights, how often each
unit stands in each resample, shape (resamples, units), by default the data themselves. Each returns one value a
resample, NaN where it is undefined. Shape: (resamples,)
"""

import numpy as np

from evaluation.bootstrap import FloatArray, ratio

# Below this, what is left above chance is rounding.
NOTHING = 1e-12


def percent_agreement(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Mean over units of the share of agreeing pairs of raters."""
    weights = given(counts, weights)
    agreeing, pairs = pairs_of(counts)
    share = np.nan_to_num(ratio(agreeing, pairs))
    return ratio(weights @ share, weights @ (pairs > 0).astype(np.float64))


def pairwise_agreement(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Agreeing pairs of raters over all pairs."""
    weights = given(counts, weights)
    agreeing, pairs = pairs_of(counts)
    return ratio(weights @ agreeing, weights @ pairs)


def fleiss_kappa(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Fleiss' kappa, generalised to missing ratings (Gwet 2014, Handbook of Inter-Rater Reliability, ch. 2).

    Units with one rating count for chance agreement alone. With complete data it is Fleiss (1971).
    """
    weights = given(counts, weights)
    chance = (prevalences(counts, weights) ** 2).sum(axis=1)
    return beyond_chance(percent_agreement(counts, weights), chance)


def gwet_ac1(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Gwet's AC1 (Gwet 2008, eq. 5-7; missing ratings as in Gwet 2014). Categories are those that anyone used."""
    weights = given(counts, weights)
    used = int(counts.any(axis=0).sum())
    if used < 2:
        return np.full(len(weights), np.nan)
    shares = prevalences(counts, weights)
    chance = (shares * (1 - shares)).sum(axis=1) / (used - 1)
    return beyond_chance(percent_agreement(counts, weights), chance)


def krippendorff_alpha(counts: FloatArray, weights: FloatArray | None = None, *, level: str = "nominal") -> FloatArray:
    """Krippendorff's alpha = 1 - D_o / D_e (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability).

    Args:
        level: nominal, or ordinal with the categories in their order.

    Raises:
        ValueError: the level is another one.
    """
    if level not in ("nominal", "ordinal"):
        raise ValueError(f"level is nominal or ordinal, not {level!r}")
    weights = given(counts, weights)
    size = counts.shape[1]
    raters = counts.sum(axis=1)
    # Coincidences o_ck of a unit: pairs of its values c and k, each over (raters of the unit - 1).
    pairs = counts[:, :, None] * (counts[:, None, :] - np.eye(size))
    shares = np.nan_to_num(ratio(pairs, np.maximum(raters - 1, 0)[:, None, None]))
    observed = (weights @ shares.reshape(len(counts), size * size)).reshape(len(weights), size, size)
    totals = observed.sum(axis=2)
    # Ordinal: the distance of c and k is the number of values between the middles of the two, counted in the data.
    middle = totals.cumsum(axis=1) - totals / 2
    distance = (middle[:, :, None] - middle[:, None, :]) ** 2 if level == "ordinal" else 1 - np.eye(size)
    disagreement = (observed * distance).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2)) / np.maximum(
        totals.sum(axis=1) - 1, 1
    )
    return 1 - ratio(disagreement, expected)


def scott_pi(counts: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Scott's pi (1955) over the units that both of two raters rated."""
    weights = given(counts, weights)
    both = counts.sum(axis=1) == 2
    return fleiss_kappa(counts[both], weights[:, both])


def cohen_kappa(tables: FloatArray) -> FloatArray:
    """Cohen's kappa (1960) of tables, first rater in rows. Shape: (..., categories, categories) -> (...)"""
    total = tables.sum(axis=(-2, -1))
    observed = ratio(np.trace(tables, axis1=-2, axis2=-1), total)
    margins = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    return beyond_chance(observed, ratio(margins, total**2))


def beyond_chance(observed: FloatArray, chance: FloatArray) -> FloatArray:
    room = np.where(1 - chance > NOTHING, 1 - chance, 0.0)
    return ratio(observed - chance, room)


def prevalences(counts: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean over the rated units of each category's share of the unit's ratings. Shape: (resamples, categories)"""
    raters = counts.sum(axis=1, keepdims=True)
    shares = np.nan_to_num(ratio(counts, raters))
    return ratio(weights @ shares, weights @ (raters > 0).astype(np.float64))


def pairs_of(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Agreeing pairs of raters, and all pairs, of each unit. Shape of each: (units,)"""
    raters = counts.sum(axis=1)
    return (counts * (counts - 1)).sum(axis=1) / 2, raters * (raters - 1) / 2


def given(counts: FloatArray, weights: FloatArray | None) -> FloatArray:
    return np.ones((1, len(counts))) if weights is None else weights
