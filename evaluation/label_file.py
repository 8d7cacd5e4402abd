"""Labels from a CSV file: in long form (item, rater, criterion, label, rater_kind) or any other `Shape`.

A file may hold a million labels, so rows are checked as arrays; what is wrong is still told with its row and column.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from annotation.errors import InputError
from annotation.files import read_csv_rows
from evaluation.agreement import TIE
from evaluation.label_shape import FIRST, Shape
from evaluation.ratings import COLUMNS, HUMAN, JUDGE

KIND = "rater_kind"
CRITERION = "criterion"
STRATUM = "stratum"
# The file's column that a label stands in, for messages.
PLACE = "place"
ONE_CRITERION = "all"
SIDES = ("left system", "right system")
SIDE_WORDS = (("left", "A"), ("right", "B"))
VOTE = ["item", "rater", "criterion"]

BoolArray = npt.NDArray[np.bool_]


class Labels(NamedTuple):
    """The frame that `agreement` takes, with a stratum where asked for, and how many repeated labels it leaves out."""

    frame: pd.DataFrame
    repeated: int


def read_labels(path: Path, shape: Shape | None = None, *, order: Sequence[str] | None = None) -> Labels:
    """The file's labels, by default in long form. A rater of unknown kind is human.

    Raises:
        InputError: a column is missing, a cell is empty, a kind unknown, a label not in the order or of no system, or a
            rater twice on an item and criterion; the message names file, row and column.
    """
    shape = shape or Shape()
    table = chosen(path, read_table(path, shape.required, (KIND, CRITERION)), shape)
    rows = answered(path, labels_in(table, shape), shape)
    if shape.systems:
        rows = in_system_order(path, rows, shape)
    if order:
        strange = ~by_category(rows["label"], lambda label: label in order)
        refuse(path, rows, strange, PLACE, lambda row: f"{row['label']!r} is not in the order {','.join(order)}")
    return without_repeats(path, with_kinds(path, rows, shape), shape)


def with_judges(people: Labels, judges: Labels) -> Labels:
    """Both together; what a judge labelled is of the stratum that it is of to people."""
    frame = judges.frame
    if STRATUM in people.frame:
        strata = people.frame.drop_duplicates("item").set_index("item")[STRATUM]
        frame = frame.assign(**{STRATUM: frame["item"].map(strata)})
    return Labels(pd.concat([people.frame, frame], ignore_index=True), people.repeated + judges.repeated)


def read_table(path: Path, required: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    """The columns asked for, as categories; the index is each row's line in the file."""
    header, rows = read_csv_rows(path, *required)
    names = [column for column in dict.fromkeys((*required, *optional)) if column in header]
    places = [header.index(column) for column in names]
    known: list[dict[str, int]] = [{} for _ in names]
    codes = [array("i") for _ in names]
    lines = array("q")
    for line, cells in rows:
        lines.append(line)
        for place, seen, column in zip(places, known, codes, strict=True):
            column.append(seen.setdefault(cells[place].strip(), len(seen)))
    return pd.DataFrame(
        {
            name: pd.Categorical.from_codes(np.asarray(column, dtype=np.int32), pd.Index(list(seen)))
            for name, seen, column in zip(names, known, codes, strict=True)
        },
        index=pd.Index(lines, name="line"),
    )


def chosen(path: Path, table: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """The rows that all conditions choose, none of their names empty (the stratum may be: not every item is of one)."""
    for condition in shape.where:
        table = table[by_category(table[condition.column], condition.holds)]
        if table.empty:
            raise InputError(f"{path}, column {condition.column}: no row is left where {condition}")
    named = [column for name, column in named_columns(table, shape).items() if name not in (KIND, STRATUM)]
    for column in (*shape.item, *named):
        empty = by_category(table[column], lambda cell: not cell)
        refuse(path, table, empty, column, lambda row: "a text is required here")
    return table


def labels_in(table: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """A row a label: columns item, rater, criterion, label, place and, where there are any, kind, sides and stratum."""
    items = [table[column] for column in shape.item]
    if len(items) > 1 or shape.systems:
        items = [escaped(column) for column in items]
    rows = pd.DataFrame({"item": reduce(joined, items)}, index=table.index)
    for name, column in named_columns(table, shape).items():
        rows[name] = table[column]
    if not shape.criteria and "criterion" not in rows:
        rows["criterion"] = ONE_CRITERION
    if not shape.wide:
        return rows.assign(label=table[shape.label], **{PLACE: shape.label})
    return pd.concat([one_column(rows, table, column, shape) for column in shape.wide])


def one_column(rows: pd.DataFrame, table: pd.DataFrame, column: str, shape: Shape) -> pd.DataFrame:
    """The labels in a column of a wide table, which is named after their rater or criterion."""
    name = "rater" if shape.raters else "criterion"
    return rows.assign(**{name: column, PLACE: column}, label=table[column].astype(str))


def named_columns(table: pd.DataFrame, shape: Shape) -> dict[str, str]:
    """{column of the result: column of the file} for what stands once a row of the file."""
    criterion = None if shape.criteria else shape.criterion or (CRITERION if CRITERION in table else None)
    named = {
        "rater": None if shape.raters else shape.rater,
        "criterion": criterion,
        KIND: KIND if KIND in table and not shape.raters else None,
        STRATUM: shape.stratum,
        **dict(zip(SIDES, shape.systems, strict=False)),
    }
    return {name: column for name, column in named.items() if column}


def answered(path: Path, rows: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """The rows with a label, recoded. An empty cell of a wide table is a label not given, one of a long table wrong."""
    rows = rows.assign(label=by_category(rows["label"], lambda label: shape.recode.get(label, label)))
    dropped = shape.dropped | ({""} if shape.wide else set())
    rows = rows[~rows["label"].isin(dropped)]
    if rows.empty:
        raise InputError(f"{path}: no label is left")
    empty = (rows["label"] == "").to_numpy()
    refuse(path, rows, empty, PLACE, lambda row: "a label is required here; --drop-label '' leaves out rows without")
    return rows


def in_system_order(path: Path, rows: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """Labels as A, tie or B, where A is the alphabetically first of the row's systems; both become part of the item,
    and what was the item is the cluster of all its pairs."""
    left, right, label = (rows[name].to_numpy(dtype=object) for name in (*SIDES, "label"))
    refuse(path, rows, left == right, shape.systems[1], lambda row: f"{row[SIDES[1]]!r} stands on both sides")
    names_left, names_right = (
        (label == system) | np.isin(label, [column, *words])
        for system, column, words in zip((left, right), shape.systems, SIDE_WORDS, strict=True)
    )
    known = f"{', '.join(shape.systems)}, left, right, A, B, {TIE} or one of the two systems"
    unclear = (names_left == names_right) & (label != TIE)
    refuse(
        path, rows, unclear, PLACE, lambda row: f"{row['label']!r} does not name one side: write {known}, or see --map"
    )
    swapped = left > right
    first, second = (pd.Series(np.where(swapped, *pair), rows.index) for pair in ((right, left), (left, right)))
    winner = np.where(label == TIE, TIE, np.where(names_left != swapped, "A", "B"))
    pair = joined(escaped(first), escaped(second))
    return rows.assign(item=joined(rows["item"], pair), cluster=rows["item"], pair=pair, label=winner)


def with_kinds(path: Path, rows: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    if shape.only_judges:
        return rows.assign(**{KIND: JUDGE})
    absent = sorted(set(shape.judges) - set(rows["rater"]))
    if absent and not shape.raters:
        raise InputError(f"{path}, column {shape.rater}: no row is by {absent[0]}, whom --judges names")
    if KIND not in rows:
        return rows.assign(**{KIND: np.where(rows["rater"].isin(shape.judges), JUDGE, HUMAN)})
    strange = ~rows[KIND].isin([HUMAN, JUDGE]).to_numpy()
    refuse(path, rows, strange, KIND, lambda row: f"{row[KIND]!r} is not known: write {HUMAN} or {JUDGE}")
    kinds = rows[KIND].astype(str).where(~rows["rater"].isin(shape.judges), JUDGE)
    rows = rows.assign(**{KIND: kinds, "before": kinds.groupby(rows["rater"], observed=True).transform("first")})
    changed = (rows[KIND] != rows["before"]).to_numpy()
    refuse(
        path, rows, changed, KIND, lambda row: f"{row['rater']} is {row['before']} in an earlier row, {row[KIND]} here"
    )
    return rows


def without_repeats(path: Path, rows: pd.DataFrame, shape: Shape) -> Labels:
    repeated = rows.duplicated(VOTE).to_numpy()
    if shape.duplicates != FIRST:
        refuse(path, rows, repeated, PLACE if shape.raters else shape.rater, lambda row: said_before(rows, row))
    kept = [*COLUMNS, KIND, *(["cluster", "pair"] if shape.systems else []), *([STRATUM] if shape.stratum else [])]
    return Labels(rows.loc[~repeated, kept].reset_index(drop=True), int(repeated.sum()))


def said_before(rows: pd.DataFrame, row: "pd.Series[Any]") -> str:
    first = rows.index[(rows[VOTE] == row[VOTE]).all(axis=1)][0]
    return (
        f"{row['rater']} labelled item {row['item']} on {row['criterion']} before, in row {first}: keep one, "
        f"or use --duplicates first"
    )


def refuse(
    path: Path, rows: pd.DataFrame, wrong: BoolArray, column: str, problem: Callable[["pd.Series[Any]"], str]
) -> None:
    """Raise the InputError of the first wrong row, if any; the column `place` is the one that the row names."""
    if wrong.any():
        row = rows.iloc[int(np.flatnonzero(wrong)[0])]
        raise InputError(f"{path}, row {row.name}, column {row[column] if column == PLACE else column}: {problem(row)}")


def by_category(cells: "pd.Series[Any]", function: Callable[[str], Any]) -> npt.NDArray[Any]:
    """The function of each cell, called once a category."""
    category = cells.astype("category").cat
    return np.array([function(str(name)) for name in category.categories])[category.codes]


def escaped(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """The cells so that, joined, they never read like other cells joined."""
    return pd.Series(by_category(cells, lambda cell: cell.replace("|", "\\|")), cells.index)


def joined(first: "pd.Series[Any]", second: "pd.Series[Any]") -> "pd.Series[Any]":
    """The cells of both columns as one text, such as 81 | 1."""
    left, right = (cells.astype("category").cat for cells in (first, second))
    size = len(right.categories)
    pairs, codes = np.unique(left.codes.to_numpy(np.int64) * size + right.codes.to_numpy(), return_inverse=True)
    names = [f"{left.categories[pair // size]} | {right.categories[pair % size]}" for pair in pairs]
    return pd.Series(pd.Categorical.from_codes(codes.astype(np.int64), pd.Index(names)), first.index)
