"""The report's figures by matplotlib, the same on the page (SVG) and for a paper (PDF).

Okabe-Ito colours that differ in lightness too, so that they part in grey print; labels beside what they name.
"""

import io
from functools import singledispatch
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from evaluation.charts import Bars, Dots

INK, SOFT, LINE, PAPER = "#2b2723", "#575049", "#d8d0c4", "#fffefb"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
TIE = "#e4dfd6"
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"), (PURPLE, "^"), (SKY, "v"))
WIDTH = 7.4  # inches
STYLE: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "attune",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": INK,
}
WHISKER: dict[str, Any] = {"linewidth": 1.4, "solid_capstyle": "butt"}


def draw(data: Bars | Dots, *, kind: str = "svg") -> bytes:
    """The figure as SVG or PDF: the same data give the same bytes."""
    out = io.BytesIO()
    with rc_context(STYLE):
        figure_of(data).savefig(
            out, format=kind, facecolor=PAPER, metadata={"Date" if kind == "svg" else "CreationDate": None}
        )
    return out.getvalue()


@singledispatch
def figure_of(data: Bars | Dots) -> Figure:
    raise TypeError(f"there is no figure of a {type(data).__name__}")


@figure_of.register
def outcome_bars(data: Bars) -> Figure:
    """Bars that add up to 1: system A's share from the left, system B's from the right, ties between. Whiskers at the
    inner end of each are its 95 % interval."""
    figure, axes = canvas(len(data.rows), 0.5, data.note)
    for y, (_, wins, ties, losses) in enumerate(data.rows):
        left, middle, right = (share.value or 0.0 for share in (wins, ties, losses))
        axes.barh(y, left, 0.62, color=BLUE)
        axes.barh(y, middle, 0.62, left=left, color=TIE)
        axes.barh(y, right, 0.62, left=1 - right, color=ORANGE)
        inside(axes, 0.012, y, left, "left", "white")
        inside(axes, 0.988, y, right, "right", INK)
        if middle >= 0.09:
            axes.text(left + middle / 2, y, f"{middle:.0%}", ha="center", va="center", color=INK)
        if wins.low is not None and wins.high is not None:
            whisker(axes, y - 0.23, wins.low, wins.high)
        if losses.low is not None and losses.high is not None:
            whisker(axes, y + 0.23, 1 - losses.high, 1 - losses.low)
    head: dict[str, Any] = {"y": -0.62, "va": "bottom", "fontweight": "bold"}
    axes.text(0, s=f"{data.system_a} better", color=BLUE, **head)
    axes.text(0.5, s="tie", color=SOFT, ha="center", **head)
    # The orange of the bars is too light for text on paper.
    axes.text(1, s=f"{data.system_b} better", color="#8a5a00", ha="right", **head)
    finish(axes, [name for name, *_ in data.rows], top=-0.95)
    axes.set_xlim(0, 1)
    return figure


@figure_of.register
def agreement_dots(data: Dots) -> Figure:
    """A dot and its 95 % interval for each series in each row; the first row names the series."""
    figure, axes = canvas(len(data.rows), 0.24 * len(data.series) + 0.16, data.note, label=data.axis)
    step = 0.72 / max(1, len(data.series))
    for y, (_, statistics) in enumerate(data.rows):
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#f3ede3", zorder=0, linewidth=0)
        for index, statistic in enumerate(statistics):
            colour, marker = SERIES[index % len(SERIES)]
            place = y + (index - (len(statistics) - 1) / 2) * step
            dot(axes, place, statistic.value, statistic.low, statistic.high, colour, marker)
    for index, name in enumerate(data.series):
        colour, marker = SERIES[index % len(SERIES)]
        place = -0.68 - (len(data.series) - 1 - index) * step
        axes.plot(0.012, place, marker=marker, color=colour, markeredgecolor=INK, markersize=6.5, clip_on=False)
        axes.text(0.032, place, name, va="center", color=INK, fontweight="bold")
    finish(axes, [name for name, _ in data.rows], top=-0.8 - len(data.series) * step)
    axes.set_xlim(0, 1)
    return figure


def canvas(rows: int, height: float, note: str, *, label: str = "") -> tuple[Figure, Axes]:
    """Axes with room for the rows, inches each, and below them the note that travels with the figure."""
    figure = Figure(figsize=(WIDTH, max(1, rows) * height + 1.35))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    axes = figure.add_subplot(facecolor=PAPER)
    axes.set_xlabel("\n".join(part for part in (label, note) if part), fontsize=8.5, linespacing=1.6)
    return figure, axes


def finish(axes: Axes, names: list[str], *, top: float) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, top)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(length=0, pad=6)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=LINE, linewidth=0.7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def inside(axes: Axes, x: float, y: float, share: float, side: str, colour: str) -> None:
    """The share's number within its bar, where the bar is long enough to hold it."""
    if share >= 0.09:
        axes.text(x, y, f"{share:.0%}", ha=side, va="center", color=colour, fontweight="bold")


def whisker(axes: Axes, y: float, low: float, high: float) -> None:
    # Paper beneath ink: seen on dark and on light bars alike.
    axes.plot([low, high], [y, y], color=PAPER, linewidth=3.4, solid_capstyle="butt")
    axes.plot([low, high], [y, y], color=INK, marker="|", markersize=5, **WHISKER)


def dot(
    axes: Axes, y: float, value: float | None, low: float | None, high: float | None, colour: str, marker: str
) -> None:
    if value is None:
        axes.text(0.012, y, "undefined", va="center", color=SOFT, fontsize=8)
        return
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=INK, zorder=2, **WHISKER)
    axes.plot(value, y, marker=marker, color=colour, markeredgecolor=INK, markersize=6.5, zorder=3)
    axes.text(1.012, y, f"{value:.2f}", va="center", color=SOFT, fontsize=8, clip_on=False)
