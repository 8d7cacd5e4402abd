"""From what matters to a person to weights of the criteria, and from there to shares of adapters trained at others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog, nnls

from annotation.errors import InputError, StudyError

# Distances between weight vectors, and shares of adapters, below which there is none.
NEGLIGIBLE = 1e-7

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mix:
    """Shares of adapters that sum to 1, the weights they come to, and how far those are from the wanted ones
    (Euclidean; 0 where the adapters surround them)."""

    wanted: Mapping[str, float]
    shares: Mapping[str, float]
    weights: Mapping[str, float]
    distance: float


def personal_mix(
    points: Mapping[str, Mapping[str, float]],
    stated: Mapping[str, float],
    typed: Mapping[str, float],
    floors: Mapping[str, float],
) -> Mix:
    """The mix for a person, of adapters by the weights each was trained at.

    `stated` are a questionnaire's importance ratings, also of criteria that no adapter weighs; `typed` ones go first.

    Raises:
        InputError: a rating is missing, out of range or of an unknown criterion, or the mix falls below a floor.
    """
    criteria = sorted({criterion for weights in points.values() for criterion in weights})
    for criterion, rating in typed.items():
        if criterion not in criteria:
            raise InputError(f"--importance {criterion}: the adapters weigh {', '.join(criteria)}")
        if not 1 <= rating <= 5:
            raise InputError(f"--importance {criterion}={rating:g}: it must lie between 1 and 5")
    ratings = {**stated, **typed}
    if missing := [criterion for criterion in criteria if criterion not in ratings]:
        raise InputError(f"there is no rating of {missing[0]}: add --importance {missing[0]}=N, from 1 to 5")
    weights = rank_order_centroid({criterion: ratings[criterion] for criterion in criteria})
    found = mix(points, at_least(weights, floors))
    for criterion, floor in floors.items():
        if found.weights[criterion] < floor - NEGLIGIBLE:
            raise InputError(
                f"--at-least {criterion}={floor:g}: the nearest that the adapters come to is "
                f"{found.weights[criterion]:.3g}, add one trained at more {criterion}"
            )
    return found


def rank_order_centroid(ratings: Mapping[str, float]) -> dict[str, float]:
    """Weights that sum to 1, from ratings of which only the order counts.

    The k-th most important of n criteria weighs (1/k + ... + 1/n) / n: the mean of all weight vectors in that order
    (Barron and Barrett 1996, Management Science 42:1515). Steps between the points of a rating scale are not known to
    be alike, so no more than the order is taken from it. Criteria rated alike share the mean of their ranks' weights.
    """
    n = len(ratings)
    of_rank = [sum(1 / i for i in range(k, n + 1)) / n for k in range(1, n + 1)]
    weights = {}
    for criterion, rating in ratings.items():
        above = sum(other > rating for other in ratings.values())
        alike = sum(other == rating for other in ratings.values())
        weights[criterion] = sum(of_rank[above : above + alike]) / alike
    return weights


def at_least(weights: Mapping[str, float], floors: Mapping[str, float]) -> dict[str, float]:
    """The weights with none below its floor; what the floors take, the others give in proportion.

    Raises:
        InputError: a floor is of an unknown criterion, is no share, or the floors sum to more than 1.
    """
    for criterion, floor in floors.items():
        if criterion not in weights:
            raise InputError(f"--at-least {criterion}: the criteria are {', '.join(weights)}")
        if not 0 <= floor <= 1:
            raise InputError(f"--at-least {criterion}={floor:g}: it must lie between 0 and 1")
    if sum(floors.values()) > 1 + NEGLIGIBLE:
        raise InputError(
            f"--at-least: the floors sum to {sum(floors.values()):g}, which leaves no weights that sum to 1"
        )
    raised: set[str] = set()
    result = dict(weights)
    while below := {name for name, floor in floors.items() if result[name] < floor}:
        raised |= below
        free = sum(weight for name, weight in weights.items() if name not in raised)
        left = 1 - sum(floors[name] for name in raised)
        result = {
            name: floors[name] if name in raised else weight * max(left, 0) / free for name, weight in weights.items()
        }
    return result


def mix(points: Mapping[str, Mapping[str, float]], wanted: Mapping[str, float]) -> Mix:
    """The shares of adapters, by the weights each was trained at, that come to the wanted weights.

    Of all such shares those of the nearest adapters: sum of share x squared distance is least, which makes them the
    wanted point's barycentric coordinates in a Delaunay simplex of the points (Rajan 1994, Discrete & Computational
    Geometry 12:189). With two criteria that is linear interpolation between the two neighbours. Wanted weights
    that no shares come to are replaced by the nearest that some do.

    Raises:
        InputError: two adapters were trained at the same weights.
    """
    names, criteria = sorted(points), sorted(wanted)
    corners: Matrix = np.array([[points[name].get(key, 0.0) for key in criteria] for name in names])
    _require_distinct(names, corners)
    target: Matrix = np.array([wanted[key] for key in criteria])
    reached = nearest_in_hull(corners, target)
    distance = float(np.linalg.norm(reached - target))
    if distance < NEGLIGIBLE:
        reached, distance = target, 0.0
    shares = _neighbouring_shares(corners, reached)
    used = {name: float(share) for name, share in zip(names, shares, strict=True) if share > NEGLIGIBLE}
    total = sum(used.values())
    return Mix(
        wanted=dict(wanted),
        shares={name: share / total for name, share in used.items()},
        weights=dict(zip(criteria, reached.tolist(), strict=True)),
        distance=distance,
    )


def nearest_in_hull(corners: Matrix, target: Matrix) -> Matrix:
    """The point of the corners' convex hull that is nearest to a target. Shapes: (n, criteria) and (criteria,)

    Least squares of sum c_i (w_i - w*) = 0 and sum c_i = 1 with c >= 0: where the shares sum to s, the first term is s
    squared times that of the shares / s, and the second depends on s alone. So the shares / s are the nearest point's.
    """
    system = np.vstack([(corners - target).T, np.ones(len(corners))])
    shares, _ = nnls(system, np.append(np.zeros(len(target)), 1.0))
    point: Matrix = shares @ corners / shares.sum()
    return point


def _neighbouring_shares(corners: Matrix, point: Matrix) -> Matrix:
    solution = linprog(
        np.square(corners - point).sum(axis=1),
        A_eq=np.vstack([corners.T, np.ones(len(corners))]),
        b_eq=np.append(point, 1.0),
        method="highs",
    )
    if solution.x is None:
        raise StudyError(f"no shares of the adapters were found: {solution.message}")
    return solution.x


def _require_distinct(names: list[str], corners: Matrix) -> None:
    for i, name in enumerate(names):
        for j in range(i):
            if math.dist(corners[i], corners[j]) < NEGLIGIBLE:
                raise InputError(f"runs {names[j]} and {name} were trained at the same weights: take one of them")
