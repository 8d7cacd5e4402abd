"""A report's tables and sections as data, and a table as CSV or LaTeX. The page and the PDF show the same cells."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.charts import Chart
from evaluation.statistics import Statistic


@dataclass(frozen=True)
class PValue:
    """The p of a test, which has no interval."""

    value: float

    def __str__(self) -> str:
        return "< 0.001" if self.value < 0.001 else f"{self.value:.3f}"


Cell = Statistic | PValue | str | int | None

PARTS = ("low", "high", "n", "reason")
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Shown:
    """A cell as it is read: its text, and in small what it rests on."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under column names; the first cell of a row names it. `name` stands in the address of its exports.

    Attributes:
        caption: what it shows, of whom, and what takes from its weight; goes wherever the table goes.
        links: addresses of the rows' own pages, on the site alone; empty, or one a row.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    links: tuple[str, ...] = ()

    @property
    def shown(self) -> list[tuple[str, Shown, list[Shown]]]:
        """(link, name, other cells) of each row."""
        links = self.links or ("",) * len(self.rows)
        return [
            (link, shown(first), [shown(cell) for cell in rest])
            for link, (first, *rest) in zip(links, self.rows, strict=True)
        ]


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it: sentences, figures, tables, and in small how to read them."""

    title: str
    sentences: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    note: str = ""
    # Said where there is nothing to show.
    empty: str = "There is nothing to show yet."

    @property
    def is_empty(self) -> bool:
        return not (self.sentences or self.charts or self.tables)


def shown(cell: Cell) -> Shown:
    match cell:
        case None:
            return Shown("–")
        case Statistic(value=None):
            return Shown("undefined", cell.reason or "")
        case Statistic():
            return Shown(str(cell), f"n {cell.n}{f', {cell.reason}' if cell.reason else ''}")
        case _:
            return Shown(str(cell))


def csv_of(table: Table, about: dict[str, str]) -> str:
    """The table with full precision: a statistic is its value, low, high, n and reason.

    Args:
        about: columns that are alike in every row, such as the study and what takes from its weight, so that rows
            that are copied elsewhere still say where they come from.
    """
    wide = [any(isinstance(row[column], Statistic) for row in table.rows) for column in range(len(table.columns))]
    header = [
        name
        for column, is_wide in zip(table.columns, wide, strict=True)
        for name in ([column, *(f"{column}, {part}" for part in PARTS)] if is_wide else [column])
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*header, *about])
    for row in table.rows:
        cells = [part for cell, is_wide in zip(row, wide, strict=True) for part in plain(cell, is_wide)]
        writer.writerow([*cells, *about.values()])
    return out.getvalue()


def plain(cell: Cell, wide: bool) -> Sequence[str | float | None]:
    if isinstance(cell, Statistic):
        return [cell.value, cell.low, cell.high, cell.n, cell.reason]
    return [cell.value if isinstance(cell, PValue) else cell, *([None] * len(PARTS) if wide else [])]


def latex_of(table: Table, about: dict[str, str]) -> str:
    """The table for a paper: booktabs, intervals in brackets, n beneath in small. `about` as comments and caption."""
    lines = [
        *(f"% {key}: {' '.join(value.split())}" for key, value in about.items() if value),
        r"% needs \usepackage{booktabs, graphicx}",
        r"\begin{table}",
        rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \label{{tab:{table.name}}}",
        r"  \centering",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"    \toprule",
        latex_row([latex_text(column) for column in table.columns]),
        r"    \midrule",
        *(latex_row([latex_cell(shown(cell)) for cell in row]) for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_row(cells: Sequence[str]) -> str:
    # A bracket at the start would be read as an option of the line break before it.
    guard = "{}" if cells[0].startswith("[") else ""
    return f"    {guard}{' & '.join(cells)} \\\\"


def latex_cell(cell: Shown) -> str:
    small = rf" {{\scriptsize ({latex_text(cell.small)})}}" if cell.small else ""
    return f"{latex_text(cell.text)}{small}"


def latex_text(text: str) -> str:
    """The text with what LaTeX would take for commands made harmless."""
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
