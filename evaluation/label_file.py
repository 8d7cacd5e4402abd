"""Labels from a CSV file in long form: item, rater, criterion, label and, where there are judges, rater_kind."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from annotation.files import Entry, read_csv
from evaluation.ratings import COLUMNS, HUMAN, JUDGE

KIND = "rater_kind"


def read_labels(path: Path, *, order: Sequence[str] | None = None) -> pd.DataFrame:
    """The frame that `agreement` takes. A rater without a kind is human.

    Raises:
        InputError: a cell is empty, a kind unknown, a label not in the order, a rater twice on an item and criterion,
            or human in one row and judge in another; the message names file, row and column.
    """
    seen: dict[tuple[str, ...], int] = {}
    kinds: dict[str, str] = {}
    rows = []
    for entry in read_csv(path, *COLUMNS):
        item, rater, criterion, label = (entry.text(column).strip() for column in COLUMNS)
        kind = kind_of(entry, rater, kinds)
        if order and label not in order:
            entry.fail("label", f"{label!r} is not in the order {','.join(order)}")
        first = seen.setdefault((item, rater, criterion), entry.line)
        if first != entry.line:
            entry.fail("rater", f"{rater} labelled item {item} on {criterion} before, in row {first}: keep one")
        rows.append((item, rater, criterion, label, kind))
    return pd.DataFrame(rows, columns=[*COLUMNS, KIND])


def kind_of(entry: Entry, rater: str, kinds: dict[str, str]) -> str:
    """The rater's kind in this row, which `kinds` remembers."""
    kind = entry.text(KIND).strip() if KIND in entry else HUMAN
    if kind not in (HUMAN, JUDGE):
        entry.fail(KIND, f"{kind!r} is not known: write {HUMAN} or {JUDGE}")
    if kinds.setdefault(rater, kind) != kind:
        entry.fail(KIND, f"{rater} is {kinds[rater]} in an earlier row and {kind} here")
    return kind
