"""Labels as arrays: who gave which item which category."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from evaluation.bootstrap import SMALL, Features, FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

COLUMNS = ("item", "rater", "criterion", "label")
HUMAN, JUDGE = "human", "judge"
TIE = "tie"
# Below this share of cells in use, large features are held sparse.
SPARSE = 0.1


@dataclass(frozen=True)
class Ratings:
    """The ratings of one criterion, or of all criteria pooled, where a unit is an item on a criterion.

    Attributes:
        codes: the category each person gave, -1 for none. Shape: (raters, units)
        judged: the category each judge gave, likewise. Shape of each: (units,)
        clusters: the item of each unit, or what its items belong to, numbered from 0 in ascending order: what a
            bootstrap draws. Shape: (units,)
        group: the criterion and pair of systems of each unit, numbered from 0, within which chance is reckoned. Shape:
            (units,)
        pairs: of systems; where they are several, A and B mean others from pair to pair.
    """

    codes: IntArray
    judged: dict[str, IntArray]
    clusters: IntArray
    group: IntArray
    raters: tuple[str, ...]
    categories: tuple[str, ...]
    pairs: int = 1

    @cached_property
    def counts(self) -> FloatArray:
        """How many people gave a unit each category. Shape: (categories, units)"""
        found = [(self.codes == code).sum(axis=0) for code in range(len(self.categories))]
        return np.array(found, dtype=np.float64).reshape(len(self.categories), self.codes.shape[1])

    @property
    def groups(self) -> int:
        return int(self.group.max(initial=0)) + 1

    @property
    def items(self) -> int:
        """The number of clusters, which are items where nothing else was said."""
        return int(self.clusters[-1]) + 1 if self.clusters.size else 0

    @cached_property
    def exact(self) -> "type[np.float32 | np.float64]":
        """The number that holds any count of units in a resample without rounding."""
        most = int(np.bincount(self.clusters).max(initial=0))
        return np.float32 if self.items * most < 2**24 else np.float64

    def by_item(self, features: FloatArray) -> FloatArray:
        """Sums over the units of each item. Shape: (features, units) -> (features, items)"""
        if features.shape[1] == self.items:
            return features
        return np.add.reduceat(features, np.flatnonzero(np.diff(self.clusters, prepend=-1)), axis=1)

    def by_group(self, features: FloatArray) -> FloatArray:
        """As `by_item`, group after group. Shape: (features, units) -> (groups x features, items)"""
        if self.groups == 1:
            return self.by_item(features)
        return np.vstack([self.by_item(features * (self.group == group)) for group in range(self.groups)])

    def counted(self, features: BoolArray) -> Features:
        """As `by_item`, of features that a unit has or has not."""
        if features.size > SMALL and features.sum() < SPARSE * features.size:
            rows, units = np.nonzero(features)
            return self.cells(rows, units, len(features))
        return self.by_item(features.astype(self.exact))

    def cells(self, rows: IntArray, units: IntArray, count: int) -> Features:
        """As `counted`, of the features and units of which each two have each other. Shape: (count, items)"""
        columns, shape = self.clusters[units], (count, self.items)
        if count * self.items > SMALL and len(rows) < SPARSE * count * self.items:
            return csr_array((np.ones(len(rows), self.exact), (rows, columns)), shape=shape)
        found = np.bincount(rows * self.items + columns, minlength=count * self.items)
        return found.reshape(shape).astype(self.exact)


@dataclass(frozen=True)
class Labels:
    """A checked frame, its columns as codes of names. Shape of each: (rows,)

    Attributes:
        criteria: in the order in which the frame names them first; the other names are sorted.
        cluster, pair: of each item, whose numbers ascend with their clusters'. Shape of each: (items,)
    """

    item: IntArray
    rater: IntArray
    criterion: IntArray
    label: IntArray
    is_judge: BoolArray
    cluster: IntArray
    pair: IntArray
    raters: tuple[str, ...]
    criteria: tuple[str, ...]
    categories: tuple[str, ...]

    def of(self, criterion: str | None = None) -> Ratings:
        """One criterion's ratings, or all. Units that no person rated are left out: nothing can be said of them."""
        asked = slice(None) if criterion is None else self.criterion == self.criteria.index(criterion)
        rows = np.arange(len(self.item))[asked]
        judge, label, rater = self.is_judge[rows], self.label[rows], self.rater[rows]
        unit = self.item[rows] * len(self.criteria) + self.criterion[rows]
        rated, place = np.unique(unit[~judge], return_inverse=True)
        people, column = np.unique(rater[~judge], return_inverse=True)
        small = np.min_scalar_type(-max(1, len(self.categories)))
        codes = np.full((len(people), len(rated)), -1, dtype=small)
        codes[column, place] = label[~judge]
        judged = {}
        for name in np.unique(rater[judge]):
            own = np.flatnonzero(judge & (rater == name))
            own = own[np.isin(unit[own], rated)]
            judged[self.raters[name]] = np.full(len(rated), -1, dtype=small)
            judged[self.raters[name]][np.searchsorted(rated, unit[own])] = label[own]
        items, criteria = np.divmod(rated, len(self.criteria))
        clusters = np.unique(self.cluster[items], return_inverse=True)[1]
        pair = self.pair[items]
        group = np.unique(pair * len(self.criteria) + criteria, return_inverse=True)[1]
        names = tuple(self.raters[name] for name in people)
        return Ratings(codes, judged, clusters, group, names, self.categories, len(np.unique(pair)))


def labels_in(frame: pd.DataFrame, order: Sequence[str] | None = None) -> Labels:
    """The frame as codes, everyone a person where it has no `rater_kind`; the categories in the given order.

    Where it has a column `cluster`, items of one depend on one another; where it has `pair`, labels mean the same
    within a pair alone.

    Raises:
        ValueError: a column is missing, a cell is empty, a label is not in the order, a kind is unknown, a rater is
            human here and judge there or stands twice on an item and criterion, or an item is of two clusters or pairs.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    (item, items), (rater, raters), (criterion, criteria), (label, found) = (coded(frame[name]) for name in COLUMNS)
    is_judge = judges_in(frame, rater, raters)
    unit = (item * len(raters) + rater) * len(criteria) + criterion
    doubled = pd.Series(unit).duplicated().to_numpy()
    if doubled.any():
        row = int(doubled.argmax())
        name, on = raters[rater[row]], (items[item[row]], criteria[criterion[row]])
        raise ValueError(f"rater {name!r} stands twice on item {on[0]!r}, criterion {on[1]!r}")
    seen = np.unique(criterion, return_index=True)[1].argsort()
    criterion, criteria = seen.argsort()[criterion], tuple(criteria[place] for place in seen)
    categories = categories_of(found, order)
    label = np.array([categories.index(name) for name in found], dtype=np.int64)[label]
    cluster, pair = (of_items(frame, name, item, items) for name in ("cluster", "pair"))
    cluster = np.arange(len(items)) if cluster is None else cluster
    pair = np.zeros(len(items), dtype=np.int64) if pair is None else pair
    order_of_items = np.argsort(cluster, kind="stable")
    item = np.argsort(order_of_items)[item]
    cluster, pair = cluster[order_of_items], pair[order_of_items]
    return Labels(item, rater, criterion, label, is_judge, cluster, pair, raters, criteria, categories)


def of_items(frame: pd.DataFrame, column: str, item: IntArray, items: Sequence[str]) -> IntArray | None:
    """What each item has in the column, as a number; None where there is no such column. Shape: (items,)

    Raises:
        ValueError: a cell is empty, or an item has two of them.
    """
    if column not in frame.columns:
        return None
    codes, _ = coded(frame[column])
    found = np.zeros(len(items), dtype=np.int64)
    found[item] = codes
    strange = np.flatnonzero(found[item] != codes)
    if strange.size:
        raise ValueError(f"item {items[item[strange[0]]]!r} is of two {column}s")
    return found


def coded(column: "pd.Series[Any]") -> tuple[IntArray, tuple[str, ...]]:
    """Each cell as the place of its text among the sorted texts, and these.

    Raises:
        ValueError: a cell is empty.
    """
    codes, values = pd.factorize(column)
    names, place = np.unique(np.array([str(value) for value in values], dtype=object), return_inverse=True)
    if (codes < 0).any() or "" in names:
        raise ValueError("the frame has empty cells: leave out the row of a rating that was not given")
    return place[codes].astype(np.int64, copy=False), tuple(names)


def judges_in(frame: pd.DataFrame, rater: IntArray, raters: tuple[str, ...]) -> BoolArray:
    if "rater_kind" not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    kind, kinds = coded(frame["rater_kind"])
    strange = sorted(set(kinds) - {HUMAN, JUDGE})
    if strange:
        raise ValueError(f"rater_kind is human or judge, not {strange[0]!r}")
    is_judge = np.array([name == JUDGE for name in kinds], dtype=bool)[kind]
    as_judge, in_all = np.bincount(rater[is_judge], minlength=len(raters)), np.bincount(rater, minlength=len(raters))
    both = np.flatnonzero((as_judge > 0) & (as_judge < in_all))
    if both.size:
        raise ValueError(f"rater {raters[both[0]]!r} is human in one row and judge in another")
    return is_judge


def categories_of(labels: Sequence[str], order: Sequence[str] | None) -> tuple[str, ...]:
    """The categories in the given order, else sorted.

    Raises:
        ValueError: a label is not in the order.
    """
    if order is None:
        return tuple(sorted(labels))
    strange = sorted(set(labels) - set(order))
    if strange:
        raise ValueError(f"label {strange[0]!r} is not in the order {','.join(order)}")
    return tuple(order)
