"""How one person judged, from a frame of their verdicts: pace, ties, sides, agreement with the rest, and drift.

A row of a frame is a verdict: item, cluster (its prompt), rater, criterion, presentation, assignment, position,
seconds, choice (left, tie, right, cannot), label in system order, missing where the rater could not judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from evaluation.bootstrap import FloatArray, bootstrap, ratio, summarise
from evaluation.statistics import Statistic, undefined

# Stretches of a session that are held against one another.
STRETCHES = 5
NO_TIME = "no times were recorded"
NOTHING_COUNTS = "no verdict counts for it"
ONE_ORDER = "no verdict chose a side with A on the left, or none with B there"


@dataclass(frozen=True)
class Stretch:
    """A part of a session: the pairs at these positions, agreement with the rest there, and the median seconds."""

    first: int
    last: int
    agreement: Statistic
    seconds: Statistic


@dataclass(frozen=True)
class Profile:
    """One rater. Intervals: bootstrap over clusters; of the median, its order statistics.

    Attributes:
        seconds: median a comparison, from first sight to submission.
        left: share of left among the verdicts that chose a side (see `left_in_both_orders`); 0.5 is no bias.
        rest: mean share of the other raters who gave the same label.
    """

    rater: str
    seconds: Statistic
    ties: Statistic
    cannot: Statistic
    left: Statistic
    rest: Statistic
    stretches: tuple[Stretch, ...]


def profiles(verdicts: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, Profile]:
    """{rater: profile} of the people whose verdicts these are."""
    looked = with_rest(verdicts)
    return {
        str(name): profile(str(name), rows.reset_index(drop=True), draws=draws, seed=seed)
        for name, rows in looked.groupby("rater", sort=False)
    }


def with_rest(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The frame with `rest`: of first looks, the share of the other raters of the item and criterion with the same
    label; missing where there is no other."""
    first = verdicts[(verdicts["presentation"] == 1) & verdicts["label"].notna()]
    unit = first.groupby(["item", "criterion"], sort=False).ngroup().to_numpy()
    code = pd.factorize(first["label"])[0]
    given = np.bincount(unit)[unit] - 1
    same = np.bincount(unit * 3 + code)[unit * 3 + code] - 1
    rest = pd.Series(ratio(same.astype(np.float64), given.astype(np.float64)), index=first.index)
    return verdicts.assign(rest=rest)


def profile(name: str, rows: pd.DataFrame, *, draws: int, seed: int) -> Profile:
    first = rows[rows["presentation"] == 1].reset_index(drop=True)
    judged = first["label"].notna()
    compared = first["rest"].notna()
    stretch = stretch_of(first)
    counted = {
        "ties": [(first["choice"] == "tie", judged)],
        "cannot": [(~judged, judged | True)],
        "left": left_in_both_orders(first),
        "rest": [(first["rest"], compared)],
    } | {f"stretch {index}": [(first["rest"], compared & (stretch == index))] for index in range(STRETCHES)}
    found = cluster_shares(first["cluster"], counted, draws=draws, seed=seed)
    timed = first.drop_duplicates("assignment")
    stretches = [
        Stretch(
            int(timed["position"][stretch[timed.index] == index].min()),
            int(timed["position"][stretch[timed.index] == index].max()),
            found[f"stretch {index}"],
            median(timed["seconds"][stretch[timed.index] == index]),
        )
        for index in sorted(set(stretch))
    ]
    return Profile(
        rater=name,
        seconds=median(timed["seconds"]),
        ties=found["ties"],
        cannot=found["cannot"],
        left=found["left"],
        rest=found["rest"],
        stretches=tuple(stretches),
    )


def stretch_of(rows: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Which part of the session each verdict was given in, equal parts by the order of the comparisons."""
    order = rows["position"].rank(method="dense").to_numpy() - 1
    count = order.max() + 1 if len(order) else 1
    return np.asarray(order * min(STRETCHES, count) // count, dtype=np.int64)


# Values, and of each row whether it counts.
Counted = tuple["pd.Series[Any]", "pd.Series[bool]"]


def left_in_both_orders(rows: pd.DataFrame) -> list[Counted]:
    """Left among the verdicts that chose a side, with A on the left and with B there: the mean of the two shares is
    that of a session with balanced sides, whatever the rater thinks of the systems."""
    left = rows["choice"] == "left"
    a_on_left = left == (rows["label"] == "A")
    sided = rows["label"].isin(["A", "B"])
    return [(left, sided & a_on_left), (left, sided & ~a_on_left)]


def cluster_shares(
    clusters: "pd.Series[Any]", counted: Mapping[str, Sequence[Counted]], *, draws: int, seed: int
) -> dict[str, Statistic]:
    """The mean of each of the values over the rows that count, with the clusters resampled, all in one bootstrap; of
    several, the mean of their means. n counts rows."""
    codes, names = pd.factorize(clusters, sort=True)
    columns = [column for some in counted.values() for column in some]
    held = [counts.to_numpy(dtype=bool) for _, counts in columns]
    sizes = np.array([np.bincount(codes[own], minlength=len(names)) for own in held], dtype=np.float64).T
    sums = [
        np.bincount(codes[own], weights=values.to_numpy(dtype=np.float64)[own], minlength=len(names))
        for own, (values, _) in zip(held, columns, strict=True)
    ]
    over = np.column_stack(sums)
    ends = np.cumsum([len(some) for some in counted.values()])[:-1]

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        shares = np.split(ratio(weights @ over, weights @ sizes), ends, axis=1)
        return {"shares": np.column_stack([own.mean(axis=1) for own in shares])}

    found = bootstrap(compute, np.arange(len(names)), draws=draws, seed=seed)["shares"]
    return {
        key: summarise(
            found[:, place],
            n=int(own.sum()),
            clusters=int(own.any(axis=1).sum()),
            reason=NOTHING_COUNTS if len(counted[key]) == 1 else ONE_ORDER,
            share=True,
        )
        for place, (key, own) in enumerate(zip(counted, np.split(sizes, ends, axis=1), strict=True))
    }


def median(seconds: "pd.Series[float]") -> Statistic:
    """The median with the distribution-free interval by order statistics (Conover 1999, ch. 3.2), at least 95 %."""
    values = np.sort(seconds.dropna().to_numpy(dtype=np.float64))
    n = len(values)
    if not n:
        return undefined(NO_TIME)
    middle = float(np.median(values))
    below = int(binom.ppf(0.025, n, 0.5)) - 1
    if below < 0:
        return Statistic(middle, None, None, n, "no interval: fewer than 6 times")
    return Statistic(middle, float(values[below]), float(values[n - 1 - below]), n)
