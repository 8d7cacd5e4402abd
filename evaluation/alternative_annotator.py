"""The alternative annotator test: may a judge stand in for one of the people? (Calderon, Reichart, Dror, ACL 2025.)"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control
from scipy.stats import t as t_distribution

from evaluation.bootstrap import FloatArray, IntArray, bootstrap, ratio, summarise
from evaluation.ratings import Ratings
from evaluation.statistics import Statistic, undefined

BoolArray = npt.NDArray[np.bool_]

ITEMS_NEEDED = 30
ALPHA = 0.05
PASS = 0.5


def alternative_annotator_test(
    ratings: Ratings, judged: IntArray, *, epsilon: float, draws: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Winning rate, advantage probability, and the test of each rater, in the shape of `agreement --json`.

    For rater j and each unit that j, the judge and at least one other person labelled: the judge wins where it matches
    at least as many of the others as j does, and j likewise; d = j's wins - the judge's. One-sided t-test of
    mean d < epsilon over the items (units of one item are averaged: they are not independent), Benjamini-Yekutieli
    over the raters.

    Args:
        judged: the judge's category of each unit, -1 for none. Shape: (units,)
        epsilon: what replacing a person may cost; 0.2 for experts, 0.15 for skilled, 0.1 for crowd workers.
    """
    eligible, judge_wins, rater_wins = contests(ratings, judged)
    raters = {
        name: rater_test(
            ratings.clusters[eligible[:, column]],
            judge_wins[eligible[:, column], column],
            rater_wins[eligible[:, column], column],
            epsilon,
        )
        for column, name in enumerate(ratings.raters)
    }
    tested = [name for name, row in raters.items() if row["p"] is not None]
    if tested:
        adjusted = false_discovery_control([raters[name]["p"] for name in tested], method="by")
        for name, p in zip(tested, adjusted, strict=True):
            raters[name]["rejected"] = bool(p <= ALPHA)
    columns = [ratings.raters.index(name) for name in tested]
    advantage = advantage_probability(eligible[:, columns], judge_wins[:, columns], ratings, draws=draws, seed=seed)
    winning = winning_rate([raters[name]["rejected"] for name in tested])
    return {
        "winning_rate": winning.as_dict(),
        "advantage_probability": advantage.as_dict(),
        "epsilon": epsilon,
        "passes": None if winning.value is None else winning.value >= PASS,
        "raters": raters,
    }


def contests(ratings: Ratings, judged: IntArray) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Where judge and rater can be held against the others, where the judge wins, where the rater does.

    Shape of each, of booleans: (units, raters). A draw is a win of both.
    """
    codes, counts = ratings.codes, ratings.counts
    given = codes >= 0
    rows = np.arange(len(codes))
    rater_matches = counts[rows[:, None], codes] - 1
    judge_matches = counts[rows, judged][:, None] - (codes == judged[:, None])
    eligible = given & (judged >= 0)[:, None] & (given.sum(axis=1) >= 2)[:, None]
    return eligible, judge_matches >= rater_matches, rater_matches >= judge_matches


def rater_test(clusters: IntArray, judge_wins: BoolArray, rater_wins: BoolArray, epsilon: float) -> dict[str, Any]:
    items, index = np.unique(clusters, return_inverse=True)
    n = len(items)
    row: dict[str, Any] = {
        "n": n,
        "p": None,
        "rejected": None,
        "rho_judge": float(judge_wins.mean()) if n else None,
        "rho_rater": float(rater_wins.mean()) if n else None,
    }
    if n < ITEMS_NEEDED:
        return {**row, "reason": f"{n} items, and the test needs {ITEMS_NEEDED}"}
    gap = rater_wins.astype(np.float64) - judge_wins
    means = np.bincount(index, weights=gap) / np.bincount(index)
    return {**row, "p": one_sided_p(means, epsilon)}


def one_sided_p(gaps: FloatArray, epsilon: float) -> float:
    """p of the t-test that the mean gap is below epsilon. A gap without any spread is taken at its word."""
    if np.ptp(gaps) == 0:
        return 0.0 if gaps[0] < epsilon else 1.0
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    return float(t_distribution.cdf((gaps.mean() - epsilon) / error, len(gaps) - 1))


def winning_rate(rejections: list[bool]) -> Statistic:
    """Share of the raters whom the judge may replace. Its n are raters, so it has no interval over items."""
    if not rejections:
        return undefined(f"no rater shares {ITEMS_NEEDED} items with the judge and another rater")
    return Statistic(float(np.mean(rejections)), None, None, len(rejections))


def advantage_probability(
    eligible: BoolArray, judge_wins: BoolArray, ratings: Ratings, *, draws: int, seed: int
) -> Statistic:
    """Mean over the tested raters of the share of units on which the judge does at least as well."""
    reason = f"no rater shares {ITEMS_NEEDED} items with the judge and another rater"
    n = int(eligible.any(axis=1).sum())
    if not n:
        return undefined(reason)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        shares = ratio(weights @ (eligible & judge_wins), weights @ eligible)
        return {"rho": shares.mean(axis=1)}

    values = bootstrap(compute, ratings.clusters, draws=draws, seed=seed)["rho"]
    return summarise(values, n=n, clusters=ratings.items, reason=reason)
