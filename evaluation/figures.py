"""The report's figures by matplotlib, the same on the page (SVG) and for a paper (PDF).

Okabe-Ito colours that differ in lightness too, so that they part in grey print; labels beside what they name.
"""

import io
import textwrap
from functools import singledispatch
from math import ceil
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from evaluation.charts import Bars, Confusion, Dots, Drift, Panel, Plane, Policy, Tradeoff
from evaluation.statistics import Statistic

INK, SOFT, LINE, PAPER = "#2b2723", "#575049", "#d8d0c4", "#fffefb"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
TIE = "#e4dfd6"
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"), (PURPLE, "^"), (SKY, "v"))
WIDTH = 7.4  # inches
# The side of a plane's panel in points of print, about, to place texts by.
POINTS = 445.0
# Letters that fit across a figure in a note.
NOTE = 92
# From paper to a blue that is as dark in grey.
SHADES = LinearSegmentedColormap.from_list("shades", [PAPER, "#9cc3dd", "#00466f"])
# Panels beside one another.
ACROSS = 4
Box = tuple[float, float, float, float]
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


def draw(data: Bars | Dots | Confusion | Drift | Tradeoff | Plane, *, kind: str = "svg") -> bytes:
    """The figure as SVG or PDF: the same data give the same bytes."""
    out = io.BytesIO()
    with rc_context(STYLE):
        figure_of(data).savefig(
            out, format=kind, facecolor=PAPER, metadata={"Date" if kind == "svg" else "CreationDate": None}
        )
    return out.getvalue()


@singledispatch
def figure_of(data: Bars | Dots | Confusion | Drift | Tradeoff | Plane) -> Figure:
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
    if data.reference is not None:
        axes.axvline(data.reference, color=SOFT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    return figure


@figure_of.register
def tradeoff_panels(data: Tradeoff) -> Figure:
    """A panel a criterion beside the primary one: each policy with the 95 % intervals of both win rates as a cross,
    the base model where all win rates are a half, floors as lines. With two criteria the front is a line: what lies
    below and left of it is dominated."""
    others = range(1, len(data.criteria))
    figure = Figure(figsize=(WIDTH, 5.6 if len(others) == 1 else 3.4 * ((len(others) + 1) // 2) + 0.6))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    panels = figure.subplots((len(others) + 1) // 2, min(2, len(others)), squeeze=False).ravel()
    for axes, k in zip(panels, others, strict=False):
        square(axes)
        for y, floor in ((False, data.floors[k]), (True, data.floors[0])):
            if floor is not None:
                floor_line(axes, floor, up=y)
        if len(others) == 1:
            staircase(axes, [policy for policy in data.policies if policy.on_front])
        axes.plot(0.5, 0.5, marker="X", color=SOFT, markersize=7, zorder=2)
        axes.annotate("base", (0.5, 0.5), (6, -11), textcoords="offset points", color=SOFT, fontsize=8)
        for policy in data.policies:
            cross(axes, policy, policy.values[k], policy.values[0])
        axes.set_xlabel(f"{data.criteria[k]}: win rate over base")
        axes.set_ylabel(f"{data.criteria[0]}: win rate over base")
    for unused in panels[len(others) :]:
        unused.set_visible(False)
    figure.supxlabel(wrapped(data.note), fontsize=8.5, color=SOFT, linespacing=1.6)
    return figure


def square(axes: Axes) -> None:
    axes.set_facecolor(PAPER)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(length=0, pad=6)
    axes.set_axisbelow(True)
    axes.grid(color=LINE, linewidth=0.7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def floor_line(axes: Axes, floor: float, *, up: bool) -> None:
    draw_line = axes.axhline if up else axes.axvline
    draw_line(floor, color=ORANGE, linewidth=1.6, linestyle=(0, (4, 2)), zorder=1)
    place = (0.0, floor) if up else (floor, 0.0)
    axes.annotate(f"floor {floor:.0%}", place, (4, 4), textcoords="offset points", color="#8a5a00", fontsize=8)


def staircase(axes: Axes, front: list[Policy]) -> None:
    """The edge of what the front dominates."""
    corners = sorted((policy.values[1].value or 0.0, policy.values[0].value or 0.0) for policy in front)
    xs = [0.0, *(x for x, _ in corners)]
    ys = [y for _, y in corners]
    if corners:
        axes.step([*xs, xs[-1]], [ys[0], *ys, 0.0], where="pre", color=SKY, linewidth=1.4, zorder=1)


def cross(axes: Axes, policy: Policy, x: Statistic, y: Statistic) -> None:
    """Filled on the front, hollow where another policy is better on every criterion."""
    if x.value is None or y.value is None:
        return
    if x.low is not None and x.high is not None:
        axes.plot([x.low, x.high], [y.value, y.value], color=INK, alpha=0.55, zorder=2, **WHISKER)
    if y.low is not None and y.high is not None:
        axes.plot([x.value, x.value], [y.low, y.high], color=INK, alpha=0.55, zorder=2, **WHISKER)
    fill = BLUE if policy.on_front else PAPER
    axes.plot(x.value, y.value, marker="o", color=fill, markeredgecolor=BLUE, markersize=7, zorder=3)
    label = axes.annotate(policy.label, (x.value, y.value), (6, 5), textcoords="offset points", color=INK, zorder=4)
    label.set(fontsize=8.5, path_effects=[withStroke(linewidth=2.5, foreground=PAPER)])


@figure_of.register
def system_plane(data: Plane) -> Figure:
    """A point a system: ours filled, with both 95 % intervals as a cross, the paper's hollow."""
    figure = Figure(figsize=(WIDTH, 7.9))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    axes = figure.add_subplot()
    square(axes)
    places = [(place, place.x.value, place.y.value) for place in data.places]
    taken: list[Box] = []
    for place, x, y in places:
        if x is None or y is None:
            continue
        taken.append((POINTS * x - 5, POINTS * y - 5, POINTS * x + 5, POINTS * y + 5))
        for low, high, along in ((place.x.low, place.x.high, True), (place.y.low, place.y.high, False)):
            if low is not None and high is not None:
                ends = ([low, high], [y, y]) if along else ([x, x], [low, high])
                axes.plot(*ends, color=BLUE, alpha=0.45, zorder=2, **WHISKER)
        fill, edge = (PAPER, SOFT) if place.published else (BLUE, INK)
        axes.plot(x, y, marker="o", color=fill, markeredgecolor=edge, markersize=7, zorder=3)
    for place, x, y in places:
        if x is not None and y is not None:
            text = f"{place.name} (paper)" if place.published else place.name
            name_beside(axes, text, x, y, taken, SOFT if place.published else INK)
    axes.set_xlabel("\n".join((data.x_axis, wrapped(data.note))), linespacing=1.6)
    axes.set_ylabel(data.y_axis)
    return figure


def name_beside(axes: Axes, text: str, x: float, y: float, taken: list[Box], colour: str) -> None:
    """The text as near to its point as it can stand without covering points or other texts, in the panel."""
    width, height = 4.7 * len(text), 9.0
    places = [
        (gap * dx - width * (1 - dx) / 2, gap * dy - height * (1 - dy) / 2)
        for gap in (8, 16, 26)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
    ]
    boxes = [(POINTS * x + dx, POINTS * y + dy, POINTS * x + dx + width, POINTS * y + dy + height) for dx, dy in places]
    inside = (0.0, 0.0, POINTS, POINTS)
    costs = [width * height - shared(box, inside) + sum(shared(box, other) for other in taken) for box in boxes]
    best = costs.index(min(costs))
    taken.append(boxes[best])
    axes.annotate(
        text, (x, y), places[best], textcoords="offset points", color=colour, fontsize=8, va="bottom", zorder=4,
        path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
    )  # fmt: skip


def wrapped(note: str) -> str:
    """The note in lines that fit across the figure."""
    return "\n".join(line for part in note.splitlines() for line in textwrap.wrap(part, NOTE))


def shared(one: Box, other: Box) -> float:
    """Area that two boxes have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


@figure_of.register
def confusion_panels(data: Confusion) -> Figure:
    """A square a panel: the darker a cell, the more of its panel's pairs of labels fall there; counts in the cells, the
    diagonal, where both agree, framed."""
    across = min(ACROSS, len(data.panels))
    down = ceil(len(data.panels) / across)
    side = WIDTH / max(across, 3)
    figure = Figure(figsize=(WIDTH, down * (side + 0.12) + 0.65 + 0.18 * wrapped(data.note).count("\n")))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.08)
    panels = figure.subplots(down, across, squeeze=False)
    for index, axes in enumerate(panels.ravel()):
        if index < len(data.panels):
            confusion_panel(axes, data.panels[index], data.labels)
        else:
            axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(data.down, fontsize=8)
    for column in range(across):
        last = max(row for row in range(down) if row * across + column < len(data.panels))
        panels[last, column].set_xlabel(data.across, fontsize=8)
    figure.supxlabel(wrapped(data.note), fontsize=8.5, color=SOFT, linespacing=1.6)
    return figure


def confusion_panel(axes: Axes, panel: Panel, labels: tuple[str, ...]) -> None:
    counts = np.asarray(panel.counts)
    shares = counts / max(1, panel.total)
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=max(0.5, float(shares.max(initial=0.0))))
    for (row, column), count in np.ndenumerate(counts):
        dark = shares[row, column] > 0.3
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8.5, color="white" if dark else INK)
        if row == column:
            axes.add_patch(Rectangle((row - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=0.9))
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.tick_params(length=0, pad=3)
    axes.set_title(f"{panel.title}\nn = {panel.total:,}", fontsize=8.5, color=INK, linespacing=1.3)
    for spine in axes.spines.values():
        spine.set_color(LINE)


@figure_of.register
def drift_panels(data: Drift) -> Figure:
    """Agreement and seconds over the session, side by side, each stretch with its 95 % interval."""
    figure = Figure(figsize=(WIDTH, 2.75))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    left, right = figure.subplots(1, 2)
    names = [name for name, *_ in data.stretches]
    curve(left, names, [share for _, share, _ in data.stretches], BLUE, "o")
    curve(right, names, [seconds for *_, seconds in data.stretches], ORANGE, "s")
    left.set_title("Agreement with the rest", loc="left", fontsize=9.5, fontweight="bold", color=INK)
    right.set_title("Median seconds a pair", loc="left", fontsize=9.5, fontweight="bold", color=INK)
    left.set_ylim(0, 1.02)
    left.yaxis.set_major_formatter(PercentFormatter(1))
    right.set_ylim(bottom=0)
    figure.supxlabel(wrapped(data.note), fontsize=8.5, color=SOFT, linespacing=1.6)
    return figure


def curve(axes: Axes, names: list[str], values: list[Statistic], colour: str, marker: str) -> None:
    axes.set_facecolor(PAPER)
    points = [(x, value) for x, value in enumerate(values) if value.value is not None]
    axes.plot(
        [x for x, _ in points], [value.value or 0.0 for _, value in points], color=colour, linewidth=1.2, zorder=2
    )
    for x, value in points:
        if value.low is not None and value.high is not None:
            axes.plot([x, x], [value.low, value.high], color=INK, zorder=2, **WHISKER)
        axes.plot(x, value.value or 0.0, marker=marker, color=colour, markeredgecolor=INK, markersize=6, zorder=3)
    if not points:
        axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, ha="center", color=SOFT)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_xlim(-0.5, max(0.5, len(names) - 0.5))
    axes.tick_params(length=0, pad=5)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def canvas(rows: int, height: float, note: str, *, label: str = "") -> tuple[Figure, Axes]:
    """Axes with room for the rows, inches each, and below them the note that travels with the figure."""
    figure = Figure(figsize=(WIDTH, max(1, rows) * height + 1.35))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    axes = figure.add_subplot(facecolor=PAPER)
    axes.set_xlabel(label, fontsize=8.5)
    # Below the figure, not the axes: long names of rows push those aside, and the note over the edge.
    figure.supxlabel(wrapped(note), fontsize=8.5, color=SOFT, linespacing=1.6)
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
