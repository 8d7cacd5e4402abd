"""Percentile bootstrap over clusters, as weights: a statistic is computed for a block of resamples at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from evaluation.statistics import Statistic, score_interval, undefined

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.signedinteger[Any]]
Features: TypeAlias = "npt.NDArray[np.floating[Any]] | csr_array[Any]"
Path = tuple[str, ...]

# Elements of one block of weights: 32 MB, whatever the number of units and of draws.
BLOCK = 4_000_000
# Elements of the features that one pass over the resamples holds: 160 MB.
HELD = 20_000_000
# Below this, two ends of an interval differ by rounding.
SAME = 1e-12
# Elements up to which features are dense, and joined with others to so many statistics.
SMALL, JOINED = 1_000_000, 40


@dataclass(frozen=True)
class Part:
    """Statistics that follow from sums over items, so that a resample costs one product of weights and features.

    Attributes:
        features: what each item adds to each sum, in single precision where all sums are exact in it, which is faster.
            Shape: (features, items)
        compute: from sums, shape (features, resamples), to the statistics in order, each of shape (resamples,) or
            several of shape (some, resamples).
        paths: where each statistic belongs in a report.
        n: of each statistic.
        reasons: given where an estimate is undefined.
        shares: whether each statistic is a share of units, from 0 to 1; none where it is empty.
        needed: the share of resamples that have to leave a statistic defined, for it to have an interval.
    """

    features: Features
    compute: Callable[[FloatArray], Sequence[FloatArray]]
    paths: Sequence[Path]
    n: Sequence[int]
    reasons: Sequence[str]
    shares: Sequence[bool] = ()
    needed: float = 0.5

    def under(self, *path: str) -> "Part":
        return replace(self, paths=[(*path, *own) for own in self.paths])


def resampled(parts: Iterable[Part], *, items: int, draws: int, seed: int) -> Iterator[tuple[Path, Statistic]]:
    """The statistics of all parts, each with its path. The parts share the resamples of the items; memory is bounded,
    for parts are taken as they come, a batch a pass."""
    # One block of weights is kept, and one part held at a time, which spares memory and the time to get it.
    kept = list(weights_of(items, draws, seed)) if draws * items <= BLOCK else None
    for batch in batches(joined(parts), held=0 if kept else HELD):
        values: list[list[FloatArray]] = [[] for _ in batch]
        for weights in kept or weights_of(items, draws, seed):
            for part, blocks in zip(batch, values, strict=True):
                sums = part.features @ weights[part.features.dtype.type]
                blocks.append(np.vstack(part.compute(np.asarray(sums, dtype=np.float64))))
        for part, blocks in zip(batch, values, strict=True):
            whole = np.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]
            found = summaries(
                whole, n=part.n, clusters=items, reasons=part.reasons, shares=part.shares, needed=part.needed
            )
            yield from zip(part.paths, found, strict=True)


def weights_of(items: int, draws: int, seed: int) -> Iterator[dict[Any, npt.NDArray[Any]]]:
    """The blocks of `cluster_weights` in both precisions. Shape of each: (items, resamples)"""
    for weights in cluster_weights(items, draws, seed):
        yield {np.float64: weights.T, np.float32: weights.T.astype(np.float32)}


def batches(parts: Iterable[Part], *, held: int) -> Iterator[list[Part]]:
    """As many at a time as have `held` elements together, at least one."""
    batch: list[Part] = []
    for part in parts:
        batch.append(part)
        if sum(part.features.size for part in batch) > held:
            yield batch
            batch = []
    if batch:
        yield batch


def joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Small parts joined to fewer: one product is faster than many, and one of this size stays in the cache."""
    waiting: dict[Any, list[Part]] = {}
    for part in parts:
        if not isinstance(part.features, np.ndarray) or part.features.size > SMALL:
            yield part
            continue
        alike = part.features.dtype, part.needed
        some = waiting.setdefault(alike, [])
        some.append(part)
        if sum(len(own.paths) for own in some) >= JOINED:
            yield join(waiting.pop(alike))
    yield from map(join, waiting.values())


def join(parts: Sequence[Part]) -> Part:
    ends = np.cumsum([part.features.shape[0] for part in parts])[:-1]

    def compute(sums: FloatArray) -> list[FloatArray]:
        own = zip(parts, np.split(sums, ends), strict=True)
        return [rows for part, some in own for rows in part.compute(some)]

    return Part(
        np.vstack([np.asarray(part.features) for part in parts]),
        compute,
        [path for part in parts for path in part.paths],
        [n for part in parts for n in part.n],
        [reason for part in parts for reason in part.reasons],
        [share for part in parts for share in part.shares or [False] * len(part.paths)],
        parts[0].needed,
    )


def cluster_weights(count: int, draws: int, seed: int, units: int = 1) -> Iterator[FloatArray]:
    """How often each cluster stands in each resample, in blocks, not to be written to. Shape of a block: (resamples,
    clusters)

    The very first row is all ones, the data themselves, so that estimate and interval come from the same code.
    """
    if max(1, draws) * max(count, units, 1) <= BLOCK:
        yield one_block(count, draws, seed)
    else:
        yield from blocks(count, draws, seed, units)


# A report asks for the same resamples from each of its statistics.
@lru_cache(maxsize=1)
def one_block(count: int, draws: int, seed: int) -> FloatArray:
    """All of `cluster_weights` at once."""
    (weights,) = blocks(count, draws, seed)
    weights.flags.writeable = False
    return weights


def blocks(count: int, draws: int, seed: int, units: int = 1) -> Iterator[FloatArray]:
    """All of `cluster_weights`, drawn anew."""
    yield from () if count else (np.ones((1, 0)),)
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // max(count, units, 1))
    for start in range(0, max(draws, 1) if count else 0, rows):
        block = min(rows, draws - start)
        # Floats, for they take the same stream of bits however it is cut into blocks; integers do not.
        # A row for each cluster, for products are fastest with resamples next to one another.
        drawn = (rng.random((block, count)) * count).astype(np.int64) * block + np.arange(block)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=block * count).reshape(count, block).astype(np.float64)
        yield (weights if start else np.hstack([np.ones((count, 1)), weights])).T


def resamples(clusters: IntArray, draws: int, seed: int) -> Iterator[FloatArray]:
    """As `cluster_weights`, for each unit of the clusters. Shape of a block: (resamples, units)

    Args:
        clusters: cluster of each unit, numbered from 0; a cluster is drawn with all its units. Shape: (units,)
    """
    count = int(clusters.max()) + 1 if clusters.size else 0
    alone = np.array_equal(clusters, np.arange(count))
    for weights in cluster_weights(count, draws, seed, units=clusters.size):
        yield weights if alone else weights[:, clusters]


def bootstrap(
    compute: Callable[[FloatArray], Mapping[str, FloatArray]], clusters: IntArray, *, draws: int, seed: int
) -> dict[str, FloatArray]:
    """Each statistic of the data (row 0) and of each resample; `compute` turns weights (R, units) into (R, ...)."""
    blocks = [compute(weights) for weights in resamples(clusters, draws, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def summarise(values: FloatArray, *, n: int, clusters: int, reason: str, share: bool = False) -> Statistic:
    """The statistic of which `values` holds the estimate first, then the resamples; NaN is undefined.

    Args:
        values: shape (1 + draws,)
        reason: given where the estimate is undefined.
        share: whether it is a share of units, from 0 to 1.
    """
    return summaries(values[None], n=[n], clusters=clusters, reasons=[reason], shares=[share])[0]


def summaries(
    values: FloatArray,
    *,
    n: Sequence[int],
    clusters: int,
    reasons: Sequence[str],
    shares: Sequence[bool] = (),
    needed: float = 0.5,
) -> list[Statistic]:
    """As `summarise`, of many statistics at once. Shape of the values: (statistics, 1 + draws)"""
    draws = values.shape[1] - 1
    # NaN sorts to the end: each row's quantiles are those of its first `defined`.
    ordered = np.sort(values[:, 1:], axis=1)
    defined = np.full(len(values), draws)
    holed = np.isnan(ordered[:, -1:]).any(axis=1)
    defined[holed] -= np.isnan(ordered[holed]).sum(axis=1)
    low, high = (quantile(ordered, defined, q).tolist() if draws else [np.nan] * len(values) for q in (0.025, 0.975))
    shares = shares or [False] * len(values)
    return [
        one_summary(*row, draws=draws, clusters=clusters, needed=needed)
        for row in zip(values[:, 0].tolist(), low, high, defined.tolist(), n, reasons, shares, strict=True)
    ]


def one_summary(
    estimate: float,
    low: float,
    high: float,
    defined: int,
    n: int,
    reason: str,
    share: bool,
    *,
    draws: int,
    clusters: int,
    needed: float,
) -> Statistic:
    if estimate != estimate:
        return undefined(reason, n)
    if not draws:
        return Statistic(estimate, None, None, n)
    if min(clusters, n) < 2:
        return Statistic(estimate, None, None, n, "no interval: there is one item only")
    if defined < draws * needed:
        lost = f"{100 * (1 - defined / draws):.0f} % of the resamples"
        return Statistic(estimate, None, None, n, f"no interval: {lost} leave it undefined")
    if high - low > SAME:
        return Statistic(estimate, low, high, n)
    # What is alike on all items has no spread to resample, which says nothing of how sure it is.
    if share:
        return Statistic(estimate, *score_interval(estimate, min(clusters, n)), n)
    return Statistic(estimate, None, None, n, "no interval: all resamples give the same")


def quantile(ordered: FloatArray, defined: IntArray, q: float) -> FloatArray:
    """Linear interpolation between order statistics, as `np.percentile`. Shape: (rows, draws), (rows,) -> (rows,)"""
    place = q * np.maximum(defined - 1, 0)
    below = place.astype(np.int64)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    rows = np.arange(len(ordered))
    return np.asarray(ordered[rows, below] + (place - below) * (ordered[rows, above] - ordered[rows, below]))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Element by element; NaN where the denominator is 0."""
    if denominator.all():
        return np.asarray(numerator / denominator)
    empty: FloatArray = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator != 0)
