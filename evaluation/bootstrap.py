"""Percentile bootstrap over clusters, as weights: a statistic is computed for a block of resamples at once."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from evaluation.statistics import Statistic, undefined

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Elements of one block of weights: 32 MB, whatever the number of units and of draws.
BLOCK = 4_000_000


def resamples(clusters: IntArray, draws: int, seed: int) -> Iterator[FloatArray]:
    """How often each unit stands in each resample of its clusters, in blocks. Shape of a block: (resamples, units)

    The very first row is all ones, the data themselves, so that estimate and interval come from the same code.

    Args:
        clusters: cluster of each unit, numbered from 0; a cluster is drawn with all its units. Shape: (units,)
    """
    yield np.ones((1, clusters.size))
    count = int(clusters.max()) + 1 if clusters.size else 0
    if count == 0:
        return
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // clusters.size)
    for start in range(0, draws, rows):
        block = min(rows, draws - start)
        # Floats, for they take the same stream of bits however it is cut into blocks; integers do not.
        drawn = (rng.random((block, count)) * count).astype(np.int64) + count * np.arange(block)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)
        yield weights[:, clusters].astype(np.float64)


def bootstrap(
    compute: Callable[[FloatArray], Mapping[str, FloatArray]], clusters: IntArray, *, draws: int, seed: int
) -> dict[str, FloatArray]:
    """Each statistic of the data (row 0) and of each resample; `compute` turns weights (R, units) into (R, ...)."""
    blocks = [compute(weights) for weights in resamples(clusters, draws, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def summarise(values: FloatArray, *, n: int, clusters: int, reason: str) -> Statistic:
    """The statistic of which `values` holds the estimate first, then the resamples; NaN is undefined.

    Args:
        values: shape (1 + draws,)
        reason: given where the estimate is undefined.
    """
    estimate, draws = float(values[0]), values[1:]
    if np.isnan(estimate):
        return undefined(reason, n)
    if not draws.size:
        return Statistic(estimate, None, None, n)
    if clusters < 2:
        return Statistic(estimate, None, None, n, "no interval: there is one item only")
    defined = draws[~np.isnan(draws)]
    if defined.size < draws.size / 2:
        return Statistic(estimate, None, None, n, "no interval: most resamples leave it undefined")
    low, high = np.percentile(defined, [2.5, 97.5])
    return Statistic(estimate, float(low), float(high), n)


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Element by element; NaN where the denominator is 0."""
    empty: FloatArray = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator != 0)
