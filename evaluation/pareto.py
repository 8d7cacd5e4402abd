"""What a sweep over weights comes to: the Pareto front, its hypervolume, and the point that keeps the floors.

All values are to be high. A point's value on a criterion is its win rate over the base model: wins and half the ties
over the prompts. One sample of prompts serves every point, so resamples of prompts keep the points paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.bootstrap import FloatArray, bootstrap, summarise
from evaluation.statistics import Statistic
from evaluation.win_rates import TIE_THRESHOLD

DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Point:
    """A policy of the sweep, each criterion's statistics by its key. `front_share` is how often, among resamples of the
    prompts, no other point was better: a front of few prompts is not certain."""

    name: str
    win_rates: Mapping[str, Statistic]
    rewards: Mapping[str, Statistic]
    on_front: bool
    front_share: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Front:
    """The points of a sweep, and the volume of win rates that they dominate, measured from 0 on every criterion: the
    share of all combinations of floors that one point or another reaches."""

    criteria: Sequence[str]
    points: Sequence[Point]
    base_rewards: Mapping[str, Statistic]
    hypervolume: Statistic
    prompts: int


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The point to run. Where none keeps the floors `point` is None, `nearest` comes closest and `reason` says so."""

    point: str | None
    nearest: str | None = None
    reason: str | None = None


def non_dominated(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether no other point is as good on every criterion and better on one. Equal points stay together.

    Args:
        values: shape (..., points, criteria)

    Returns:
        Shape (..., points)
    """
    this, other = values[..., :, None, :], values[..., None, :, :]
    dominated = (other >= this).all(axis=-1) & (other > this).any(axis=-1)
    return np.asarray(~dominated.any(axis=-1))


def hypervolume(values: FloatArray, reference: Sequence[float] | FloatArray) -> FloatArray:
    """Volume of what the points dominate beyond the reference point (Zitzler & Thiele 1998), exact, by slices of the
    last criterion. What lies below the reference on any criterion adds nothing.

    Args:
        values: shape (..., points, criteria)
        reference: shape (criteria,)

    Returns:
        Shape (...)
    """
    return _volume(np.maximum(values - np.asarray(reference, dtype=np.float64), 0))


def _volume(gains: FloatArray) -> FloatArray:
    if gains.shape[-1] == 1:
        return np.asarray(gains[..., 0].max(axis=-1, initial=0))
    order = np.argsort(-gains[..., -1], axis=-1)
    gains = np.take_along_axis(gains, order[..., None], axis=-2)
    depths = -np.diff(gains[..., -1], axis=-1, append=0)
    # A slice holds the points that reach as high as it: the first, the first two, ...
    if gains.shape[-1] == 2:
        return np.asarray((depths * np.maximum.accumulate(gains[..., 0], axis=-1)).sum(axis=-1))
    volume = np.zeros(gains.shape[:-2])
    for index in range(gains.shape[-2]):
        volume += depths[..., index] * _volume(gains[..., : index + 1, :-1])
    return volume


def front_of(
    names: Sequence[str],
    criteria: Sequence[str],
    scores: FloatArray,
    base: FloatArray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Front:
    """The front of policies that responded to the same prompts as the base model.

    Args:
        scores: rewards of each policy's responses. Shape (points, prompts, criteria)
        base: rewards of the base model's responses. Shape (prompts, criteria)

    Raises:
        ValueError: shapes do not fit, or there is no prompt.
    """
    if scores.shape != (len(names), *base.shape) or base.shape[-1:] != (len(criteria),) or not base.size:
        raise ValueError(f"scores of shape {scores.shape} and {base.shape} do not fit {len(names)} points")
    prompts = len(base)
    # A win is 1, a tie a half.
    wins = (1.0 + (scores - base > TIE_THRESHOLD) - (base - scores > TIE_THRESHOLD)) / 2

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        # Halves and counts add up exactly, so that equal rates are equal: the division comes last.
        rates = np.einsum("rn,pnk->rpk", weights, wins) / prompts
        return {
            "rates": rates,
            "rewards": np.einsum("rn,pnk->rpk", weights, np.concatenate([scores, base[None]])) / prompts,
            "front": non_dominated(rates).astype(np.float64),
            "volume": hypervolume(rates, np.zeros(len(criteria))),
        }

    values = bootstrap(compute, np.arange(prompts), draws=draws, seed=seed)
    size: dict[str, Any] = {"n": prompts, "clusters": prompts, "reason": "there is no prompt"}
    points = [
        Point(
            name=name,
            win_rates={key: summarise(values["rates"][:, p, k], **size, share=True) for k, key in enumerate(criteria)},
            rewards={key: summarise(values["rewards"][:, p, k], **size) for k, key in enumerate(criteria)},
            on_front=bool(values["front"][0, p]),
            front_share=round(float(values["front"][1:, p].mean()), 4) if draws else float(values["front"][0, p]),
        )
        for p, name in enumerate(names)
    ]
    return Front(
        criteria=criteria,
        points=points,
        base_rewards={key: summarise(values["rewards"][:, -1, k], **size) for k, key in enumerate(criteria)},
        hypervolume=reflected(summarise(values["volume"], **size)),
        prompts=prompts,
    )


def reflected(statistic: Statistic) -> Statistic:
    """A volume of win rates with the basic bootstrap interval in place of the percentile one.

    The best of several noisy points looks better than the best point is, in the data and once more in each resample.
    The percentile interval adds the two errors, the basic one (Davison & Hinkley 1997, 5.2) takes one off. In
    simulations of five points on 60 prompts the percentile interval held the true volume in 79 to 88 % of samples, and
    in 5 to 38 % where all points were equally good; the basic one in 91 to 95 % and in 77 to 81 %.
    """
    value, low, high = statistic.value, statistic.low, statistic.high
    if value is None or low is None or high is None:
        return statistic
    return Statistic(value, max(0.0, 2 * value - high), min(1.0, 2 * value - low), statistic.n, statistic.reason)


def operating_point(points: Sequence[Point], primary: str, floors: Mapping[str, float]) -> OperatingPoint:
    """The point with the most of the primary criterion among those whose lower bounds keep every floor.

    Where none does, the nearest is the one whose lower bound misses a floor by least.
    """

    def most(point: Point) -> float:
        return point.win_rates[primary].value or 0.0

    def missing(point: Point) -> float:
        return max((floor - (point.win_rates[key].low or 0.0) for key, floor in floors.items()), default=0.0)

    keeping = [point for point in points if missing(point) <= 0]
    if keeping:
        return OperatingPoint(point=max(keeping, key=most).name)
    if not points:
        return OperatingPoint(point=None, reason="there is no point")
    nearest = min(points, key=lambda point: (missing(point), -most(point)))
    bounds = ", ".join(f"{key} {nearest.win_rates[key].low or 0.0:.2f} (floor {floors[key]:g})" for key in floors)
    return OperatingPoint(
        point=None,
        nearest=nearest.name,
        reason=f"no point's lower bounds keep the floors; {nearest.name} comes nearest with {bounds}",
    )
