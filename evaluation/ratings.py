"""Labels as arrays: who gave which item which category."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.bootstrap import FloatArray, IntArray

COLUMNS = ("item", "rater", "criterion", "label")
HUMAN, JUDGE = "human", "judge"


@dataclass(frozen=True)
class Ratings:
    """The ratings of one criterion, or of all criteria pooled, where a unit is an item on a criterion.

    Attributes:
        codes: the category each person gave, -1 for none. Shape: (units, raters)
        judged: the category each judge gave, likewise. Shape of each: (units,)
        clusters: the item of each unit, numbered from 0: items are what a bootstrap draws. Shape: (units,)
    """

    codes: IntArray
    judged: dict[str, IntArray]
    clusters: IntArray
    raters: tuple[str, ...]
    categories: tuple[str, ...]

    @property
    def counts(self) -> FloatArray:
        """How many people gave a unit each category. Shape: (units, categories)"""
        own = self.codes[:, :, None] == np.arange(len(self.categories))
        return np.asarray(own.sum(axis=1), dtype=np.float64)

    @property
    def items(self) -> int:
        """The number of items, whatever the number of criteria."""
        return len(np.unique(self.clusters))


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with text columns and `rater_kind`, human where it had none.

    Raises:
        ValueError: a column is missing, a cell is empty, a kind is unknown, a rater is human here and judge there, or
            stands twice on an item and criterion.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    kinds = frame["rater_kind"] if "rater_kind" in frame.columns else HUMAN
    frame = frame.assign(rater_kind=kinds)[[*COLUMNS, "rater_kind"]]
    if frame.isna().to_numpy().any() or (frame == "").to_numpy().any():
        raise ValueError("the frame has empty cells: leave out the row of a rating that was not given")
    frame = frame.astype(str)
    strange = sorted(set(frame["rater_kind"]) - {HUMAN, JUDGE})
    if strange:
        raise ValueError(f"rater_kind is human or judge, not {strange[0]!r}")
    both = frame.groupby("rater")["rater_kind"].nunique()
    if (both > 1).any():
        raise ValueError(f"rater {both[both > 1].index[0]!r} is human in one row and judge in another")
    doubled = frame[frame.duplicated(["item", "rater", "criterion"])]
    if len(doubled):
        row = doubled.iloc[0]
        raise ValueError(f"rater {row['rater']!r} stands twice on item {row['item']!r}, criterion {row['criterion']!r}")
    return frame


def categories_of(labels: "pd.Series[str]", order: Sequence[str] | None) -> tuple[str, ...]:
    """The categories in the given order, else sorted.

    Raises:
        ValueError: a label is not in the order.
    """
    seen = set(labels)
    if order is None:
        return tuple(sorted(seen))
    strange = sorted(seen - set(order))
    if strange:
        raise ValueError(f"label {strange[0]!r} is not in the order {','.join(order)}")
    return tuple(order)


def ratings_of(frame: pd.DataFrame, categories: tuple[str, ...]) -> Ratings:
    """The ratings in a checked frame. Units that no person rated are left out: nothing can be said of them."""
    units = pd.MultiIndex.from_frame(frame[["item", "criterion"]])
    human = (frame["rater_kind"] == HUMAN).to_numpy()
    rated = units[human].unique().sort_values()
    unit = rated.get_indexer(units)
    code = pd.Index(categories).get_indexer(pd.Index(frame["label"]))
    raters = tuple(sorted(frame.loc[human, "rater"].unique()))
    codes = np.full((len(rated), len(raters)), -1)
    codes[unit[human], pd.Index(raters).get_indexer(pd.Index(frame.loc[human, "rater"]))] = code[human]
    judged = {}
    for name in sorted(frame.loc[~human, "rater"].unique()):
        own = (frame["rater"] == name).to_numpy() & (unit >= 0)
        judged[name] = np.full(len(rated), -1)
        judged[name][unit[own]] = code[own]
    clusters = pd.factorize(rated.get_level_values("item"), sort=True)[0]
    return Ratings(codes, judged, clusters, raters, categories)
