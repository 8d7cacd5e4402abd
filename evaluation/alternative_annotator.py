"""The alternative annotator test: may a judge stand in for one of the people? (Calderon, Reichart, Dror, ACL 2025.)"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import stdtr

from evaluation.bootstrap import FloatArray, IntArray, Part, ratio
from evaluation.corrections import benjamini_yekutieli
from evaluation.ratings import BoolArray, Ratings
from evaluation.statistics import Statistic, undefined

ITEMS_NEEDED = 30
ALPHA = 0.05
PASS = 0.5
TOO_FEW = f"no rater shares {ITEMS_NEEDED} items with the judge and another rater"


def alternative_annotator_test(ratings: Ratings, judged: IntArray, *, epsilon: float) -> dict[str, Any]:
    """Winning rate and the test of each rater, in the shape of `agreement --json`; `advantage_part` adds the rest.

    For rater j and each unit that j, the judge and at least one other person labelled: the judge wins where it matches
    at least as many of the others as j does, and j likewise; d = j's wins - the judge's. One-sided t-test of
    mean d < epsilon over the clusters (units of one are averaged: they are not independent), Benjamini-Yekutieli over
    the raters.

    `baseline` is the winning rate of a judge that always names the commonest label: where raters hardly agree with one
    another, it passes too, and to pass says little.

    Args:
        judged: the judge's category of each unit, -1 for none. Shape: (units,)
        epsilon: what replacing a person may cost; 0.2 for experts, 0.15 for skilled, 0.1 for crowd workers.
    """
    found = held_against_raters(ratings, judged, epsilon)
    constant = np.where(judged >= 0, commonest(ratings), -1)
    return {**found, "baseline": held_against_raters(ratings, constant, epsilon)["winning_rate"]}


def commonest(ratings: Ratings) -> IntArray:
    """The label that raters gave most often on the unit's criterion and pair of systems. Shape: (units,)"""
    totals = [np.bincount(ratings.group, weights=own, minlength=ratings.groups) for own in ratings.counts]
    return np.asarray(np.array(totals).argmax(axis=0)[ratings.group])


def held_against_raters(ratings: Ratings, judged: IntArray, epsilon: float) -> dict[str, Any]:
    eligible, judge_wins, rater_wins = contests(ratings, judged)
    gaps = (rater_wins.astype(np.float64) - judge_wins) * eligible
    units = ratings.by_item(eligible.astype(np.float64))
    n, ps = one_sided_ps(ratio(ratings.by_item(gaps), units), epsilon)
    enough = n >= ITEMS_NEEDED
    raw = [p if tested else None for p, tested in zip(ps.tolist(), enough.tolist(), strict=True)]
    adjusted = benjamini_yekutieli(raw)
    wins = [ratio((eligible & own).sum(axis=1), eligible.sum(axis=1)) for own in (judge_wins, rater_wins)]
    rows = zip(n.tolist(), raw, adjusted, *(shares.tolist() for shares in wins), strict=True)
    raters = {name: rater_row(*row) for name, row in zip(ratings.raters, rows, strict=True)}
    winning = winning_rate([p <= ALPHA for p in adjusted if p is not None])
    return {
        "winning_rate": winning.as_dict(),
        "epsilon": epsilon,
        "passes": None if winning.value is None else winning.value >= PASS,
        "raters": raters,
    }


def rater_row(n: int, p: float | None, adjusted: float | None, rho_judge: float, rho_rater: float) -> dict[str, Any]:
    row = {
        "n": n,
        "p": p,
        "p_adjusted": adjusted,
        "rejected": None if adjusted is None else adjusted <= ALPHA,
        "rho_judge": rho_judge if n else None,
        "rho_rater": rho_rater if n else None,
    }
    return row if n >= ITEMS_NEEDED else {**row, "reason": f"{n} items, and the test needs {ITEMS_NEEDED}"}


def contests(ratings: Ratings, judged: IntArray) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Where judge and rater can be held against the others, where the judge wins, where the rater does.

    Shape of each, of booleans: (raters, units). A draw is a win of both.
    """
    codes, counts = ratings.codes, ratings.counts
    units = np.arange(codes.shape[1])
    rater_matches = counts[codes, units] - 1
    judge_matches = counts[judged, units] - (codes == judged)
    eligible = (codes >= 0) & (judged >= 0) & (counts.sum(axis=0) >= 2)
    return eligible, judge_matches >= rater_matches, rater_matches >= judge_matches


def one_sided_ps(gaps: FloatArray, epsilon: float) -> tuple[IntArray, FloatArray]:
    """Of each rater the items, and p of the t-test that the mean gap is below epsilon. Gaps, NaN where there is none,
    are taken at their word where they have no spread. Shape: (raters, items) -> (raters,) twice"""
    given = ~np.isnan(gaps)
    n = given.sum(axis=1)
    gaps = np.where(given, gaps, 0.0)
    mean = gaps.sum(axis=1) / np.maximum(n, 1)
    spread = (((gaps - mean[:, None]) ** 2) * given).sum(axis=1)
    highest, lowest = (
        np.where(given, gaps, -1.0).max(axis=1, initial=-1),
        np.where(given, gaps, 1.0).min(axis=1, initial=1),
    )
    error = np.sqrt(spread / np.maximum(n - 1, 1) / np.maximum(n, 1))
    t = ratio(mean - epsilon, error)
    certain = np.where(mean < epsilon, 0.0, 1.0)
    return n, np.where(highest > lowest, stdtr(np.maximum(n - 1, 1), t), certain)


def winning_rate(rejections: list[bool]) -> Statistic:
    """Share of the raters whom the judge may replace. Its n are raters, so it has no interval over items."""
    if not rejections:
        return undefined(TOO_FEW)
    return Statistic(float(np.mean(rejections)), None, None, len(rejections))


def advantage_part(ratings: Ratings, judged: IntArray) -> Part:
    """Mean over the tested raters of the share of units on which the judge does at least as well."""
    eligible, judge_wins, _ = contests(ratings, judged)
    tested = (ratings.by_item(eligible.astype(np.float64)) > 0).sum(axis=1) >= ITEMS_NEEDED
    eligible, wins = eligible[tested], (eligible & judge_wins)[tested]

    def compute(sums: FloatArray) -> list[FloatArray]:
        held, won = sums.reshape(2, -1, sums.shape[1])
        return [ratio(ratio(won, held).sum(axis=0), np.array(float(len(held))))]

    n = [int(eligible.any(axis=0).sum())]
    of_items = ratings.counted(np.vstack([eligible, wins]))
    return Part(of_items, compute, [("alt_test", "advantage_probability")], n, [TOO_FEW], [True])


def in_words(test: Mapping[str, Any], judge: str, *, rater: str = "rater", scope: str = "") -> str:
    """The test's verdict as a sentence without its full stop; `scope` says of what, after a comma."""
    rate = test["winning_rate"]
    if rate["value"] is None:
        return f"Whether {judge} may stand in for a {rater} cannot be tested: {rate['reason']}"
    may = "may" if test["passes"] else "may not"
    return (
        f"By the alternative annotator test {judge} {may} stand in for a {rater}{scope}: it holds its own against "
        f"{round(rate['value'] * rate['n'])} of the {rate['n']} {rater}s tested (winning rate {rate['value']:.2f}, "
        f"{PASS:g} passes; always naming the commonest label would reach {test['baseline']['value']:.2f}) where "
        f"replacing one may cost epsilon = {test['epsilon']:g}"
    )
