"""How far raters agree with one another, and judges with them: pure, with intervals from a bootstrap over items.

Items carry all their raters and, pooled, all their criteria into a resample: ratings of one item are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from evaluation.alternative_annotator import alternative_annotator_test
from evaluation.bootstrap import FloatArray, IntArray, bootstrap, ratio, summarise
from evaluation.coefficients import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    pairwise_agreement,
    percent_agreement,
    scott_pi,
)
from evaluation.ratings import HUMAN, JUDGE, Ratings, categories_of, checked, ratings_of
from evaluation.statistics import Statistic, undefined

__all__ = [
    "agreement",
    "cohen_kappa",
    "fleiss_kappa",
    "gwet_ac1",
    "krippendorff_alpha",
    "pairwise_agreement",
    "percent_agreement",
    "scott_pi",
]

TIE = "tie"
# Bounds the memory of Cohen's kappas where many raters share a file.
PAIRS_AT_ONCE = 64
NO_PAIR = "no item has two ratings"
ONE_CATEGORY = "every rating is of one category, so nothing is left above chance"


@dataclass(frozen=True, kw_only=True)
class Settings:
    level: str = "nominal"
    order: tuple[str, ...] | None = None
    bootstrap: int = 2000
    seed: int = 0
    judge: str | None = None
    epsilon: float = 0.2

    def __post_init__(self) -> None:
        if self.level not in ("nominal", "ordinal"):
            raise ValueError(f"level is nominal or ordinal, not {self.level!r}")
        if self.level == "ordinal" and not self.order:
            raise ValueError("level ordinal needs the order of the labels, such as B,tie,A")
        if self.order and (len(set(self.order)) < len(self.order) or "" in self.order):
            raise ValueError(f"order {','.join(self.order)} names a label twice or an empty one")
        if self.bootstrap < 0 or self.seed < 0:
            raise ValueError("bootstrap and seed are 0 or more")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon lies between 0 and 1, not at {self.epsilon}")


def agreement(
    frame: pd.DataFrame,
    *,
    level: str = "nominal",
    order: Sequence[str] | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    judge: str | None = None,
    epsilon: float = 0.2,
) -> dict[str, Any]:
    """All statistics of agreement by criterion and pooled, in the JSON shape of `agreement --json`.

    Args:
        frame: columns item, rater, criterion, label and, where there are judges, rater_kind (human or judge).
        order: the labels from lowest to highest; the level ordinal needs it.
        bootstrap: number of resamples of the items; 0 leaves the intervals out.
        judge: leaves out all judges but this one.
        epsilon: of the alternative annotator test.

    Raises:
        ValueError: the frame or a setting is wrong; the message says which and where.
    """
    settings = Settings(
        level=level,
        order=tuple(order) if order else None,
        bootstrap=bootstrap,
        seed=seed,
        judge=judge,
        epsilon=epsilon,
    )
    frame = only_judge(checked(frame), judge)
    categories = categories_of(frame["label"], settings.order)
    return {
        "criteria": {
            str(criterion): section(ratings_of(rows, categories), settings)
            for criterion, rows in frame.groupby("criterion", sort=False)
        },
        "pooled": section(ratings_of(frame, categories), settings),
        "settings": {
            **settings.__dict__,
            "order": list(settings.order) if settings.order else None,
            "categories": list(categories),
            "interval": "95 %, percentiles of a bootstrap over items",
        },
    }


def only_judge(frame: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    if judge is None:
        return frame
    judges = sorted(frame.loc[frame["rater_kind"] == JUDGE, "rater"].unique())
    if judge not in judges:
        raise ValueError(f"there is no judge {judge!r} (there are: {', '.join(judges) or 'none'})")
    return frame[(frame["rater_kind"] == HUMAN) | (frame["rater"] == judge)]


def section(ratings: Ratings, settings: Settings) -> dict[str, Any]:
    """One criterion's statistics, or the pooled ones."""
    return {
        "items": len(ratings.codes),
        "raters": len(ratings.raters),
        "ratings": int((ratings.codes >= 0).sum()),
        **{name: statistic.as_dict() for name, statistic in among_raters(ratings, settings).items()},
        "cohen_kappa": {pair: statistic.as_dict() for pair, statistic in by_pair(ratings, settings).items()},
        "judges": {name: of_judge(ratings, name, settings) for name in ratings.judged},
    }


def among_raters(ratings: Ratings, settings: Settings) -> dict[str, Statistic]:
    counts = ratings.counts

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        return {
            "percent_agreement": percent_agreement(counts, weights),
            "pairwise_agreement": pairwise_agreement(counts, weights),
            "fleiss_kappa": fleiss_kappa(counts, weights),
            "krippendorff_alpha": krippendorff_alpha(counts, weights, level=settings.level),
            "gwet_ac1": gwet_ac1(counts, weights),
            "scott_pi": scott_pi(counts, weights),
        }

    pairable = int((counts.sum(axis=1) >= 2).sum())
    reason = ONE_CATEGORY if pairable else NO_PAIR
    values = bootstrap(compute, ratings.clusters, draws=settings.bootstrap, seed=settings.seed)
    found = {
        name: summarise(column, n=pairable, clusters=ratings.items, reason=reason) for name, column in values.items()
    }
    if TIE in ratings.categories:
        found["percent_agreement_without_ties"] = without_ties(ratings, settings)
    if len(ratings.raters) != 2:
        found["scott_pi"] = undefined(f"it is defined for two raters, and there are {len(ratings.raters)}", pairable)
    return found


def without_ties(ratings: Ratings, settings: Settings) -> Statistic:
    """Percent agreement of the ratings that chose a side."""
    chosen = np.delete(ratings.counts, ratings.categories.index(TIE), axis=1)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        return {"agreement": percent_agreement(chosen, weights)}

    values = bootstrap(compute, ratings.clusters, draws=settings.bootstrap, seed=settings.seed)["agreement"]
    pairable = int((chosen.sum(axis=1) >= 2).sum())
    return summarise(values, n=pairable, clusters=ratings.items, reason="no item has two ratings that chose a side")


def by_pair(ratings: Ratings, settings: Settings) -> dict[str, Statistic]:
    """Cohen's kappa of each pair of raters, named R1|R2."""
    pairs = list(combinations(range(len(ratings.raters)), 2))
    found: dict[str, Statistic] = {}
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        found |= kappas(ratings, pairs[start : start + PAIRS_AT_ONCE], settings)
    return found


def kappas(ratings: Ratings, pairs: list[tuple[int, int]], settings: Settings) -> dict[str, Statistic]:
    size = len(ratings.categories)
    first, second = (ratings.codes[:, columns] for columns in np.transpose(pairs))
    both = (first >= 0) & (second >= 0)
    # One cell of a pair's table for each unit; all tables are then one product with the weights.
    cells = both[:, :, None] & ((first * size + second)[:, :, None] == np.arange(size**2))
    flat = cells.reshape(len(cells), len(pairs) * size**2).astype(np.float64)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        return {"kappa": cohen_kappa((weights @ flat).reshape(len(weights), len(pairs), size, size))}

    values = bootstrap(compute, ratings.clusters, draws=settings.bootstrap, seed=settings.seed)["kappa"]
    shared = both.sum(axis=0)
    return {
        f"{ratings.raters[a]}|{ratings.raters[b]}": summarise(
            values[:, index],
            n=int(shared[index]),
            clusters=ratings.items,
            reason=ONE_CATEGORY if shared[index] else "they rated no item in common",
        )
        for index, (a, b) in enumerate(pairs)
    }


def of_judge(ratings: Ratings, name: str, settings: Settings) -> dict[str, Any]:
    """Agreement of a judge with the raters, and beside it what a rater reaches against the same yardstick.

    `leave_one_out` holds each rater, and the judge on the same items, against the majority of the other raters.
    """
    judged = ratings.judged[name]
    counts = ratings.counts
    winners = unique_winners(counts)
    has_verdict = judged >= 0
    matched = np.where(has_verdict, counts[np.arange(len(counts)), judged], 0.0)
    decided = has_verdict & (winners >= 0)
    agreed = decided & (winners == judged)
    others = others_winners(ratings)
    held = (ratings.codes >= 0) & has_verdict[:, None] & (others >= 0)
    rater_hits = (held & (others == ratings.codes)).sum(axis=1).astype(np.float64)
    judge_hits = (held & (others == judged[:, None])).sum(axis=1).astype(np.float64)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        held_cells = weights @ held.sum(axis=1).astype(np.float64)
        return {
            "with_raters": ratio(weights @ (matched / counts.sum(axis=1)), weights @ has_verdict.astype(np.float64)),
            "with_majority": ratio(weights @ agreed.astype(np.float64), weights @ decided.astype(np.float64)),
            "rater_left_out": ratio(weights @ rater_hits, held_cells),
            "judge_instead": ratio(weights @ judge_hits, held_cells),
        }

    values = bootstrap(compute, ratings.clusters, draws=settings.bootstrap, seed=settings.seed)

    def statistic(key: str, n: int, reason: str) -> dict[str, Any]:
        return summarise(values[key], n=n, clusters=ratings.items, reason=reason).as_dict()

    no_majority = "no item that it judged has a majority"
    held_units = int(held.any(axis=1).sum())
    return {
        "agreement_with_raters": statistic("with_raters", int(has_verdict.sum()), "it judged no item that was rated"),
        "agreement_with_majority": statistic("with_majority", int(decided.sum()), no_majority),
        "majority_ties_excluded": int((has_verdict & ~decided).sum()),
        "leave_one_out": {
            "raters": statistic("rater_left_out", held_units, no_majority),
            "judge": statistic("judge_instead", held_units, no_majority),
        },
        "alt_test": alternative_annotator_test(
            ratings, judged, epsilon=settings.epsilon, draws=settings.bootstrap, seed=settings.seed
        ),
    }


def unique_winners(counts: FloatArray) -> IntArray:
    """The category with the most ratings, -1 where two are level or there is none. Shape: (..., categories) -> (...)"""
    top = counts.max(axis=-1, initial=0.0, keepdims=True)
    single = ((counts == top) & (top > 0)).sum(axis=-1) == 1
    return np.where(single, counts.argmax(axis=-1) if counts.shape[-1] else -1, -1)


def others_winners(ratings: Ratings) -> IntArray:
    """The winner among the other raters of the unit, for each rater. Shape: (units, raters)"""
    own = ratings.codes[:, :, None] == np.arange(len(ratings.categories))
    return unique_winners(ratings.counts[:, None, :] - own)
