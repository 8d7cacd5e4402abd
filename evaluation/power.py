"""How precise a study will be, by simulation before it opens: the 95 % intervals to expect of agreement and win rate.

precision = expected_precision(Assumptions(a=0.5, tie=0.1, b=0.4), items=100, raters=6, per_item=3)
precision.win_rate.low, precision.win_rate.high, precision.width("win_rate"), str(precision.assumptions)
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from scipy.stats import multinomial

from evaluation.bootstrap import FloatArray
from evaluation.coefficients import cohen_kappa, gwet_ac1, krippendorff_alpha, percent_agreement
from evaluation.statistics import Statistic, undefined
from evaluation.symmetry import exact_mcnemar

STUDIES = 4000
SIGNIFICANT = 0.05
# Patterns of verdicts on one item grow as the square of the raters: this many take about a second.
MOST_PER_ITEM = 40


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What the simulated raters do. All are alike, and so are the items.

    Each item has a verdict of its own, drawn from the shares of A, tie and B. A rater gives that verdict with
    probability sqrt(beyond_chance), and otherwise one drawn from the same shares. So the agreement of two raters beyond
    chance, which is Fleiss' kappa and alpha, is `beyond_chance`, and each rater's verdicts have the shares given.

    Raises:
        ValueError: the shares do not sum to 1, or a number is not between 0 and 1.
    """

    a: float = 0.45
    tie: float = 0.15
    b: float = 0.40
    beyond_chance: float = 0.4

    def __post_init__(self) -> None:
        if not all(0 <= number <= 1 for number in (*self.shares, self.beyond_chance)):
            raise ValueError("the shares of A, tie and B, and the agreement beyond chance, lie between 0 and 1")
        if abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"the shares of A, tie and B sum to 1, not to {sum(self.shares):g}")

    @property
    def shares(self) -> tuple[float, float, float]:
        return self.a, self.tie, self.b

    def __str__(self) -> str:
        return (
            f"{self.a:.0%} for A, {self.tie:.0%} ties, {self.b:.0%} for B; two raters agree beyond chance by "
            f"{self.beyond_chance:.2f}; all raters alike, all pairs alike"
        )


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What a design may expect. Each statistic is the mean over simulated studies with the middle 95 % of them.

    Attributes:
        win_rate: share of the items whose majority is for A, a tie being no win, as `win_rates` counts.
        cohen_kappa: of one pair of raters, over the `shared_items` that both would judge on average.
        power: share of the studies in which the exact McNemar test of wins against losses finds a difference at 0.05.
        items_a_rater: how many each rater judges on average.
    """

    assumptions: Assumptions
    items: int
    raters: int
    per_item: int
    percent_agreement: Statistic
    krippendorff_alpha: Statistic
    gwet_ac1: Statistic
    cohen_kappa: Statistic
    win_rate: Statistic
    power: float
    items_a_rater: float
    shared_items: float
    studies: int
    seed: int

    def width(self, name: str) -> float | None:
        """Width of the interval of `percent_agreement`, `win_rate` and so on; None where there is none."""
        statistic: Statistic = getattr(self, name)
        return None if statistic.low is None or statistic.high is None else statistic.high - statistic.low

    def as_dict(self) -> dict[str, Any]:
        return {
            key: value.as_dict() if isinstance(value, Statistic) else value
            for key, value in {**self.__dict__, "assumptions": dict(self.assumptions.__dict__)}.items()
        }


def expected_precision(
    assumptions: Assumptions,
    *,
    items: int,
    raters: int,
    per_item: int | None = None,
    studies: int = STUDIES,
    seed: int = 0,
) -> Precision:
    """The intervals to expect of `items` pairs of responses, each judged by `per_item` of the `raters`, by default all.

    What two raters say of an item depends on no other item, so a study is one draw of how often each pattern of
    verdicts comes up: exact, and as fast for 10,000 items as for 100. Agreement is nominal.

    Raises:
        ValueError: a number is out of range; the message says which.
    """
    per_item = raters if per_item is None else per_item
    check_design(items, raters, per_item, studies, seed)
    rng = np.random.default_rng(seed)
    patterns, probabilities = verdict_patterns(assumptions, per_item)
    drawn = rng.multinomial(items, probabilities, size=studies).astype(np.float64)
    wins, losses = (drawn @ (sign_of(patterns) == sign) for sign in (1, -1))
    shared = items * per_item * (per_item - 1) / (raters * (raters - 1)) if raters > 1 else 0.0
    reason = "most studies would have one category only" if per_item > 1 else "an item has one rater, so no pair agrees"
    return Precision(
        assumptions=assumptions,
        items=items,
        raters=raters,
        per_item=per_item,
        percent_agreement=expected(percent_agreement(patterns, drawn), items, reason),
        krippendorff_alpha=expected(krippendorff_alpha(patterns, drawn), items, reason),
        gwet_ac1=expected(gwet_ac1(patterns, drawn), items, reason),
        cohen_kappa=expected_kappa(assumptions, round(shared), studies, rng),
        win_rate=expected(wins / items, items, reason),
        power=float((exact_mcnemar(wins, losses) <= SIGNIFICANT).mean()),
        items_a_rater=items * per_item / raters,
        shared_items=shared,
        studies=studies,
        seed=seed,
    )


def check_design(items: int, raters: int, per_item: int, studies: int, seed: int) -> None:
    if items < 1 or raters < 1:
        raise ValueError("a design has at least one item and one rater")
    if not 1 <= per_item <= min(raters, MOST_PER_ITEM):
        raise ValueError(f"raters an item: from 1 to {min(raters, MOST_PER_ITEM)}, not {per_item}")
    if studies < 100 or seed < 0:
        raise ValueError("at least 100 simulated studies, and a seed of 0 or more")


def verdict_patterns(assumptions: Assumptions, raters: int) -> tuple[FloatArray, FloatArray]:
    """How many raters may say A, tie and B of one item, shape (patterns, 3), and how probable that is: (patterns,)"""
    combinations = list(combinations_with_replacement(range(3), raters))
    counts = np.array([np.bincount(verdicts, minlength=3) for verdicts in combinations])
    shares = np.array(assumptions.shares)
    follows = np.sqrt(assumptions.beyond_chance)
    given_truth = follows * np.eye(3) + (1 - follows) * shares
    probabilities = sum(
        share * multinomial.pmf(counts, raters, verdicts / verdicts.sum())
        for share, verdicts in zip(shares, given_truth, strict=True)
    )
    possible = probabilities > 0
    return counts[possible].astype(np.float64), probabilities[possible] / probabilities.sum()


def sign_of(patterns: FloatArray) -> FloatArray:
    """1 where the majority is for A, -1 where it is for B, 0 where it is a tie or two are level. Shape: (patterns,)"""
    a, tie, b = patterns.T
    return np.asarray((a > np.maximum(tie, b)).astype(np.float64) - (b > np.maximum(tie, a)))


def expected(values: FloatArray, items: int, reason: str) -> Statistic:
    """Mean and middle 95 % over the simulated studies that define it; n is the number of items."""
    defined = values[~np.isnan(values)]
    if 2 * defined.size <= values.size:
        return undefined(reason, items)
    low, high = np.quantile(defined, (0.025, 0.975)).tolist()
    return Statistic(float(defined.mean()), low, high, items)


def expected_kappa(assumptions: Assumptions, shared: int, studies: int, rng: np.random.Generator) -> Statistic:
    """Cohen's kappa of two raters of `shared` items."""
    if shared < 2:
        return undefined("two raters would share fewer than two items", shared)
    shares = np.array(assumptions.shares)
    cells = assumptions.beyond_chance * np.diag(shares) + (1 - assumptions.beyond_chance) * np.outer(shares, shares)
    tables = rng.multinomial(shared, cells.ravel() / cells.sum(), size=studies).reshape(studies, 3, 3)
    return expected(cohen_kappa(tables.astype(np.float64)), shared, "most studies would have one category only")
