"""How far raters agree on rankings: Kendall's tau-b of pairs of raters, and his W of all of them."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluation.bootstrap import FloatArray, Part, ratio, resampled
from evaluation.statistics import Statistic

COLUMNS = ("prompt", "rater", "response", "rank")
NOBODY = "no prompt was ranked by two raters who tell its responses apart"


def kendall_w(ranks: npt.ArrayLike) -> float:
    """Kendall's coefficient of concordance, corrected for ties (Kendall and Babington Smith 1939; Siegel 1956): 1 where
    all rank alike, 0 where nothing is shared, NaN where nobody tells two objects apart.

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
    """`kendall_w` and `kendall_tau_b`, the mean over pairs of raters, each as the mean over prompts; the interval is a
    bootstrap over prompts, n the number of prompts that two raters ranked.

    Args:
        frame: columns prompt, rater, response, rank, of one criterion; 1 is best, equal ranks are ties. Rankings of a
            prompt that leave out a response are passed over.

    Raises:
        ValueError: a column is missing, or a rater ranks a response twice.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    if frame.duplicated(["prompt", "rater", "response"]).any():
        raise ValueError("a rater ranks a response of a prompt twice")
    found = np.array([of_prompt(rows) for _, rows in frame.groupby("prompt", sort=True)]).reshape(-1, 2).T
    defined = ~np.isnan(found)
    part = Part(
        features=np.vstack([np.where(defined, found, 0.0), defined]),
        compute=lambda sums: [ratio(sums[:2], sums[2:])],
        paths=[("kendall_w",), ("kendall_tau_b",)],
        n=defined.sum(axis=1).tolist(),
        reasons=[NOBODY] * 2,
    )
    statistics = resampled([part], items=found.shape[1], draws=draws, seed=seed)
    return {path[0]: statistic for path, statistic in statistics}


def of_prompt(rows: pd.DataFrame) -> tuple[float, float]:
    """W and the mean tau-b of one prompt, NaN where fewer than two raters ranked all of its responses."""
    ranks = rows.pivot(index="rater", columns="response", values="rank").dropna().rank(axis=1).to_numpy()
    if len(ranks) < 2:
        return float("nan"), float("nan")
    taus = kendall_tau_b(ranks)[np.triu_indices(len(ranks), 1)]
    defined = taus[~np.isnan(taus)]
    return kendall_w(ranks), float(defined.mean()) if defined.size else float("nan")
