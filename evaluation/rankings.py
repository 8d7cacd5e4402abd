"""How far raters agree on rankings: Kendall's tau-b of pairs of raters, and his W of all of them."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from evaluation.bootstrap import FloatArray, Part, ratio, resampled
from evaluation.statistics import Statistic, undefined

COLUMNS = ("prompt", "rater", "response", "rank")
NOBODY = "no two raters ranked the same responses of a prompt and told them apart"


def kendall_w(ranks: npt.ArrayLike) -> float:
    """Kendall's coefficient of concordance, corrected for ties (Kendall and Babington Smith 1939; Siegel 1956): 1 where
    all rank alike, 0 where all objects have the same sum of ranks, 1 / raters on average where each ranks at random,
    NaN where nobody tells two objects apart.

    Args:
        ranks: average ranks where tied. Shape: (raters, objects)
    """
    ranks = np.asarray(ranks, np.float64)
    raters, objects = ranks.shape
    totals = ranks.sum(axis=0)
    spread = ((totals - totals.mean()) ** 2).sum()
    tied = sum(float((counts**3 - counts).sum()) for counts in map(tie_sizes, ranks))
    room = raters**2 * (objects**3 - objects) - raters * tied
    return float(12 * spread / room) if room else float("nan")


def tie_sizes(ranks: FloatArray) -> FloatArray:
    return np.unique(ranks, return_counts=True)[1].astype(np.float64)


def kendall_tau_b(ranks: npt.ArrayLike) -> FloatArray:
    """Kendall's tau-b (1945) of each two raters, NaN where one of them ties all. Shape: (raters, objects) ->
    (raters, raters)"""
    ranks = np.asarray(ranks, np.float64)
    first, second = np.triu_indices(ranks.shape[1], 1)
    order = np.sign(ranks[:, first] - ranks[:, second])
    told_apart = (order**2).sum(axis=1)
    return ratio(order @ order.T, np.sqrt(np.outer(told_apart, told_apart)))


def ranking_agreement(frame: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, Statistic]:
    """`kendall_w` and `kendall_tau_b`, the mean over pairs of raters, each as the mean over sets of responses that two
    raters ranked, of which n is the number. A prompt has one such set, unless raters were shown different responses.
    The interval is a bootstrap over prompts. `chance_w` is what W would be on average if as many ranked at random.

    Args:
        frame: columns prompt, rater, response, rank, of one criterion; 1 is best, equal ranks are ties.

    Raises:
        ValueError: a column is missing, or a rater ranks a response twice.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    if frame.duplicated(["prompt", "rater", "response"]).any():
        raise ValueError("a rater ranks a response of a prompt twice")
    found = pd.DataFrame(of_sets(frame), columns=["prompt", "w", "tau", "chance"]).dropna()
    by_prompt = found.groupby("prompt").agg(w=("w", "sum"), tau=("tau", "sum"), sets=("w", "size"))
    part = Part(
        features=by_prompt.to_numpy(np.float64).T,
        compute=lambda sums: [ratio(sums[:2], sums[2:])],
        paths=[("kendall_w",), ("kendall_tau_b",)],
        n=[len(found)] * 2,
        reasons=[NOBODY] * 2,
    )
    statistics = {path[0]: value for path, value in resampled([part], items=len(by_prompt), draws=draws, seed=seed)}
    chance = undefined(NOBODY) if found.empty else Statistic(float(found["chance"].mean()), None, None, len(found))
    return statistics | {"chance_w": chance}


def of_sets(frame: pd.DataFrame) -> Iterator[tuple[object, float, float, float]]:
    """(prompt, W, mean tau-b, 1 / raters) of each set of a prompt's responses that two raters or more ranked."""
    ordered = frame.sort_values(["prompt", "rater", "response"])
    rankings = ordered.groupby(["prompt", "rater"]).agg(responses=("response", tuple), ranks=("rank", tuple))
    for (prompt, _), alike in rankings.groupby(["prompt", "responses"])["ranks"]:
        if len(alike) > 1:
            ranks = rankdata(alike.tolist(), axis=1)
            taus = kendall_tau_b(ranks)[np.triu_indices(len(ranks), 1)]
            defined = taus[~np.isnan(taus)]
            yield prompt, kendall_w(ranks), float(defined.mean()) if defined.size else float("nan"), 1 / len(ranks)
