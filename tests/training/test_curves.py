"""Geometry of the training curves."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curves import (
    HEIGHT,
    LABEL_GAP,
    LEFT,
    POINTS,
    RIGHT,
    WIDTH,
    moving_mean,
    overlaid_charts,
    run_charts,
    spread,
    thinned,
    ticks,
)


def places(path):
    return [tuple(map(float, point.split(","))) for point in path.split()]


def test_a_chart_holds_training_and_held_out_values_in_the_same_axes():
    (chart,) = run_charts({"loss": [[1, 1.0], [2, 0.5], [3, 0.0]], "eval_loss": [[3, 0.5]]})
    training, held_out = chart.lines
    (x1, y1), (x2, y2), (x3, y3) = places(training.path)
    assert (x1, x3) == (LEFT, WIDTH - RIGHT)
    assert x2 == pytest.approx((x1 + x3) / 2)
    assert y1 < y2 < y3
    ((x, y),) = places(held_out.path)
    assert (x, y) == (x3, y2)
    assert held_out.dots == [(str(x), str(y), "held out, update 3: 0.5")]
    assert training.dots == []


def test_accuracy_is_drawn_from_none_to_all_whatever_its_range():
    (chart,) = run_charts({"accuracy": [[1, 0.6], [2, 0.7]]})
    assert [text for _, text in chart.y_ticks] == ["0%", "20%", "40%", "60%", "80%", "100%"]


def test_a_chart_without_values_is_left_out():
    assert run_charts({}) == []
    assert [chart.key for chart in run_charts({"loss": [[1, 2.0]], "margin": [], "eval_accuracy": [[1, 0.5]]})] == [
        "loss",
        "accuracy",
    ]


def test_two_runs_are_told_apart_by_label_and_stroke():
    (chart,) = overlaid_charts({"loss": [[1, 1.0], [5, 0.5]]}, {"loss": [[1, 1.0], [9, 0.4]], "eval_loss": [[9, 0.6]]})
    assert [(line.label, line.tone) for line in chart.lines] == [("A", "a"), ("B", "b"), ("B, held out", "b")]
    assert places(chart.lines[0].path)[-1][0] < places(chart.lines[1].path)[-1][0] == WIDTH - RIGHT


def test_long_noisy_curves_are_means_over_a_faint_line_of_bounded_length():
    noisy = [[step, 1 + (-1) ** step] for step in range(1, 4001)]
    (chart,) = run_charts({"loss": noisy})
    (line,) = chart.lines
    assert len(places(line.path)) == len(places(line.faint)) <= POINTS
    heights = [y for _, y in places(line.path)]
    assert max(heights) - min(heights) < 1e-6


def test_a_constant_curve_and_a_single_point_can_be_drawn():
    for points in ([[1, 0.0], [2, 0.0]], [[7, 3.0]]):
        (chart,) = run_charts({"loss": points})
        assert all(math.isfinite(value) for place in places(chart.lines[0].path) for value in place)
        assert 0 < places(chart.lines[0].path)[0][1] < HEIGHT


def test_thinning_and_smoothing_take_means():
    points = [[1, 1.0], [2, 3.0], [3, 5.0], [4, 7.0], [5, 9.0]]
    assert thinned(points, 2) == [(1.5, 2.0), (3.5, 6.0), (5.0, 9.0)]
    assert [value for _, value in moving_mean(points, 3)] == [2.0, 3.0, 5.0, 7.0, 8.0]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_round_few_and_within_the_axis(low, extent, at_most):
    high = low + extent
    found = ticks(low, high, at_most)
    assert len(found) <= at_most + 1
    # Far from 0 the numbers themselves are only so fine.
    slack = extent * 1e-6 + 4 * math.ulp(max(abs(low), abs(high)))
    assert all(low - slack <= tick <= high + slack for tick in found)


def test_ticks_stand_one_two_or_five_times_a_power_of_ten_apart():
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(1, 135, 6) == [50, 100]
    assert ticks(0.03, 0.27, 3) == [0.1, 0.2]
    assert ticks(3, 3, 4) == [3]


@given(st.lists(st.floats(0, 190), min_size=1, max_size=6))
def test_labels_keep_their_order_and_do_not_cover_one_another(heights):
    found = spread(heights, low=14, high=162)
    ordered = sorted(range(len(heights)), key=heights.__getitem__)
    gaps = [found[below] - found[above] for above, below in pairwise(ordered)]
    assert all(gap >= LABEL_GAP - 0.11 for gap in gaps)
    assert max(found) <= 162
