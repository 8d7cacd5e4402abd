"""Training curves as lines of an SVG, for the run's page and for two runs in the same axes. Sizes in SVG units."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 42, 94, 10, 28
LABEL_GAP = 14
# As many points as can be told apart at this width.
POINTS = 200

Points = Sequence[Sequence[float]]

# Each chart: its key in metrics["curves"], that of held-out data, its title.
CHARTS = (
    ("loss", "eval_loss", "Loss"),
    ("margin", "eval_margin", "Reward margin, chosen over rejected"),
    ("accuracy", "eval_accuracy", "Pairs ordered rightly"),
    ("learning_rate", "", "Learning rate"),
)


@dataclass(frozen=True)
class Curve:
    """What is drawn as one line. `tone` a or b is its colour and stroke; held-out values are dots on a line."""

    label: str
    points: Points
    tone: str
    held_out: bool = False


@dataclass(frozen=True)
class Line:
    label: str
    tone: str
    path: str
    faint: str
    dots: Sequence[tuple[str, str, str]]  # x, y, what it says
    label_y: float


@dataclass(frozen=True)
class Chart:
    key: str
    title: str
    alt: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    base: int = HEIGHT - BOTTOM


def run_charts(curves: Mapping[str, Points]) -> list[Chart]:
    """Charts of one run: training and held-out data in the same axes."""
    return [
        chart(key, title, lines)
        for key, held_out, title in CHARTS
        if (
            lines := [
                Curve(label, curves[name], tone, name == held_out)
                for name, label, tone in ((key, "training", "a"), (held_out, "held out", "b"))
                if curves.get(name)
            ]
        )
    ]


def overlaid_charts(first: Mapping[str, Points], second: Mapping[str, Points]) -> list[Chart]:
    """Charts of two runs, A and B, in the same axes."""
    return [
        chart(key, title, lines)
        for key, held_out, title in CHARTS
        if (
            lines := [
                Curve(f"{run}, held out" if name == held_out else run, curves[name], run.lower(), name == held_out)
                for run, curves in (("A", first), ("B", second))
                for name in (key, held_out)
                if curves.get(name)
            ]
        )
    ]


def chart(key: str, title: str, curves: Sequence[Curve]) -> Chart:
    drawn = [(curve, *_drawn(curve, smooth=key != "learning_rate")) for curve in curves]
    if len({curve.tone for curve in curves if not curve.held_out}) > 1:
        # Two runs' single updates in one chart would hide the means.
        drawn = [(curve, thick, []) for curve, thick, _ in drawn]
    values = [value for _, thick, faint in drawn for _, value in (*thick, *faint)]
    steps = [step for _, thick, faint in drawn for step, _ in (*thick, *faint)]
    low, high = (0.0, 1.0) if key == "accuracy" else _padded(min(values), max(values))
    first, last = min(steps), max(steps)

    def x(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def path(points: Points) -> str:
        return " ".join(f"{x(step)},{y(value)}" for step, value in points)

    places = spread([y(thick[-1][1]) for _, thick, _ in drawn], low=TOP + 4, high=HEIGHT - BOTTOM)
    lines = [
        Line(
            label=curve.label,
            tone=curve.tone,
            path=path(thick),
            faint=path(faint),
            dots=[
                (str(x(step)), str(y(value)), f"{curve.label}, update {step:g}: {value:.4g}")
                for step, value in (thick if curve.held_out else [])
            ],
            label_y=place,
        )
        for (curve, thick, faint), place in zip(drawn, places, strict=True)
    ]
    return Chart(
        key=key,
        title=title,
        alt=f"{title}. " + " ".join(_told(curve) for curve in curves),
        lines=lines,
        x_ticks=[(x(step), _update(step)) for step in ticks(first, last, 6)],
        y_ticks=[(y(value), _tick(key, value)) for value in ticks(low, high, 5)],
    )


def _told(curve: Curve) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    if len(curve.points) == 1:
        return f"{curve.label.capitalize()}: {start:.3g} at update {first:g}."
    return f"{curve.label.capitalize()}: from {start:.3g} at update {first:g} to {end:.3g} at update {last:g}."


def _tick(key: str, value: float) -> str:
    if key == "accuracy":
        return f"{value:.0%}"
    if key == "learning_rate" and value:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:g}"


def _update(step: float) -> str:
    return f"{step / 1000:g}k" if step >= 10_000 else f"{step:g}"


def _drawn(curve: Curve, *, smooth: bool) -> tuple[Points, Points]:
    """Points of the thick line, and of a faint one behind it where the thick one is a mean."""
    points = thinned(curve.points, updates_a_point(curve.points))
    width = window(points)
    if curve.held_out or not smooth or width == 1:
        return points, []
    return moving_mean(points, width), points


def updates_a_point(points: Points) -> int:
    return math.ceil(len(points) / POINTS)


def window(points: Points) -> int:
    """How many points make one of the thick line: an odd number, about a tenth of them."""
    return 2 * (min(len(points), POINTS) // 20) + 1


def thinned(points: Points, size: int) -> Points:
    """The mean of each `size` points that follow one another."""
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [tuple(sum(column) / len(group) for column in zip(*group, strict=True)) for group in groups]


def moving_mean(points: Points, width: int) -> Points:
    """Each value as the mean of the `width` around it, of fewer near the ends."""
    means = []
    for index, (step, _) in enumerate(points):
        around = [value for _, value in points[max(0, index - width // 2) : index + width // 2 + 1]]
        means.append((step, sum(around) / len(around)))
    return means


def ticks(low: float, high: float, at_most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from low to high."""
    if high <= low:
        return [low]
    unit = 10.0 ** math.floor(math.log10((high - low) / at_most))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (unit * factor) <= at_most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def spread(places: Sequence[float], *, low: float, high: float) -> list[float]:
    """The places in their order, moved as little as keeps labels from covering one another."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = [min(max(places[index], low), high) for index in order]
    for above, below in pairwise(range(len(moved))):
        moved[below] = max(moved[below], moved[above] + LABEL_GAP)
    moved[-1] = min(moved[-1], high)
    for below, above in pairwise(reversed(range(len(moved)))):
        moved[above] = min(moved[above], moved[below] - LABEL_GAP)
    result = [0.0] * len(places)
    for place, index in zip(moved, order, strict=True):
        result[index] = round(place, 1)
    return result


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - pad, high + pad
