"""The front, its volume and the operating point, against what can be worked out by hand or in another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.pareto import Point, front_of, hypervolume, non_dominated, operating_point
from evaluation.statistics import Statistic


def inclusion_exclusion(points):
    """The volume as a sum over all subsets of boxes."""
    total = 0.0
    for mask in range(1, 2 ** len(points)):
        chosen = [point for index, point in enumerate(points) if mask >> index & 1]
        total -= (-1) ** len(chosen) * np.prod(np.min(chosen, axis=0))
    return total


def volume(points, reference=None):
    points = np.asarray(points, dtype=float)
    return float(hypervolume(points, np.zeros(points.shape[-1]) if reference is None else reference))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[3, 1], [2, 2], [1, 3]], 6),
        ([[0.5, 0.5]], 0.25),
        # Three unit steps towards a corner: 1*1*3 boxes that share the unit cube.
        ([[3, 1, 1], [1, 3, 1], [1, 1, 3]], 7),
        # Zitzler's two boxes in three dimensions: 2*2*1 + 1*1*2 less what they share, 1.
        ([[2, 2, 1], [1, 1, 2]], 5),
        ([[2, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1], [1, 1, 1, 2]], 5),
    ],
)
def test_the_hypervolume_is_that_of_boxes_counted_by_hand(points, expected):
    assert volume(points) == pytest.approx(expected)


def test_a_volume_is_measured_from_the_reference_point_that_is_given():
    # Minimisation turned round, reference (11, 11, 11), is the usual form of this test in the literature.
    points = 11 - np.array([[5, 5, 7], [4, 3, 10], [2, 2, 2]])
    assert volume(points) == pytest.approx(9**3)
    assert volume([[0.7, 0.4], [0.6, 0.6]], [0.5, 0.5]) == pytest.approx(0.01)
    assert volume([[0.4, 0.9]], [0.5, 0.5]) == 0


values = st.integers(0, 10).map(lambda number: number / 10)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(values, min_size=k, max_size=k), min_size=1, max_size=6)))
def test_slices_give_the_volume_of_inclusion_and_exclusion(points):
    assert volume(points) == pytest.approx(inclusion_exclusion(np.array(points)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(values, values, values), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_duplicates_dominated_points_and_the_order_of_criteria_change_no_volume(points, random):
    whole = volume(points)
    shuffled = random.sample(points, len(points))
    assert volume(shuffled) == pytest.approx(whole)
    assert volume([*points, points[0]]) == pytest.approx(whole)
    assert volume([*points, [value / 2 for value in points[0]]]) == pytest.approx(whole)
    assert volume([point[::-1] for point in points]) == pytest.approx(whole)
    front = [point for point, on_front in zip(points, non_dominated(np.array(points)), strict=True) if on_front]
    assert volume(front) == pytest.approx(whole)


def test_no_point_has_no_volume_and_many_samples_are_measured_at_once():
    assert hypervolume(np.empty((4, 0, 3)), [0, 0, 0]).tolist() == [0, 0, 0, 0]
    samples = np.random.default_rng(0).random((5, 4, 3))
    assert hypervolume(samples, [0, 0, 0]) == pytest.approx([volume(points) for points in samples])


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([[0.4, 0.6]], [True]),
        ([[1, 3], [2, 2], [3, 1]], [True, True, True]),
        ([[1, 3], [2, 2], [2, 1], [1, 2]], [True, True, False, False]),
        ([[0.5, 0.5], [0.5, 0.5]], [True, True]),
        ([[0.5, 0.5], [0.5, 0.5], [0.5, 0.6]], [False, False, True]),
        ([[9, 9, 9], [1, 2, 3], [3, 2, 1]], [True, False, False]),
    ],
)
def test_the_front_holds_what_nothing_else_is_better_than(points, front):
    assert non_dominated(np.array(points, dtype=float)).tolist() == front


def scores(gains, *, prompts=80, seed=0):
    """Rewards of policies that are better than the base by gains, shape (points, criteria), and those of the base."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(prompts, np.shape(gains)[1]))
    return base + np.asarray(gains)[:, None] + rng.normal(size=(len(gains), *base.shape)), base


def test_win_rates_are_wins_and_half_the_ties_over_the_prompts():
    base = np.array([[0.0], [0.0], [0.0], [0.0]])
    policy = np.array([[[1.0], [2.0], [0.0], [-5.0]]])
    front = front_of(["a"], ["safety"], policy, base)
    rate = front.points[0].win_rates["safety"]
    assert (rate.value, rate.n) == (2.5 / 4, 4)
    assert 0 <= rate.low < rate.value < rate.high <= 1
    assert front.points[0].rewards["safety"].value == -0.5
    assert front.base_rewards["safety"].value == 0
    assert front.hypervolume.value == rate.value


def test_the_base_model_against_itself_wins_half():
    _, base = scores([[0, 0]])
    front = front_of(["same"], ["empathy", "safety"], base[None], base)
    assert [rate.value for rate in front.points[0].win_rates.values()] == [0.5, 0.5]
    assert front.hypervolume.value == 0.25


def test_a_reward_that_differs_in_the_last_digit_alone_is_a_tie():
    _, base = scores([[0, 0]])
    found = front_of(["same"], ["empathy", "safety"], base[None] + 6e-7, base)
    assert [rate.value for rate in found.points[0].win_rates.values()] == [0.5, 0.5]


def test_resamples_of_prompts_are_the_same_for_all_points():
    # Two policies that write the same are never better than one another in any resample.
    both, base = scores([[0.5, 0.2]])
    front = front_of(["a", "b"], ["empathy", "safety"], np.concatenate([both, both]), base)
    assert [point.front_share for point in front.points] == [1, 1]
    assert front.points[0].win_rates == front.points[1].win_rates


def test_the_order_of_the_points_changes_nothing():
    policies, base = scores([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [-0.5, -0.5]])
    names = ["a", "b", "c", "d"]
    one = front_of(names, ["empathy", "safety"], policies, base)
    two = front_of(names[::-1], ["empathy", "safety"], policies[::-1], base)
    assert list(one.points) == list(two.points)[::-1]
    assert one.hypervolume.as_dict() == pytest.approx(two.hypervolume.as_dict())
    assert [point.on_front for point in one.points][-1] is False
    assert one.points[-1].front_share < 0.05


def test_a_win_rates_interval_is_that_of_the_binomial_where_there_are_no_ties():
    policies, base = scores([[0.6]], prompts=400)
    rate = front_of(["a"], ["safety"], policies, base).points[0].win_rates["safety"]
    spread = 1.96 * np.sqrt(rate.value * (1 - rate.value) / 400)
    assert (rate.low, rate.high) == pytest.approx((rate.value - spread, rate.value + spread), abs=0.006)


def test_a_policy_that_always_wins_has_wilsons_interval():
    _, base = scores([[0.0]], prompts=10)
    rate = front_of(["a"], ["safety"], base[None] + 1, base).points[0].win_rates["safety"]
    # Newcombe 1998: the score interval of 10 of 10 is 0.7225 to 1.
    assert (rate.value, rate.low, rate.high) == pytest.approx((1, 0.7225, 1), abs=5e-5)


def test_the_interval_of_the_hypervolume_holds_the_true_volume_though_the_best_of_many_points_is_flattered():
    gain = 0.4
    # The difference of two responses has variance 1 here: rate = P(N(gain, 1) > 0).
    true = 0.6554217416103242**2
    held = 0
    for seed in range(60):
        policies, base = scores([[gain, gain]] * 5, prompts=60, seed=seed)
        found = front_of(list("abcde"), ["empathy", "safety"], policies, base, draws=200, seed=seed).hypervolume
        assert found.low <= found.value <= found.high
        held += found.low <= true <= found.high
    # A percentile interval holds it in 3 of 60 such samples.
    assert held >= 36


@pytest.mark.parametrize(("policies", "base"), [((1, 3, 2), (3, 2)), ((2, 3, 2), (4, 2)), ((2, 0, 2), (0, 2))])
def test_scores_that_do_not_fit_are_refused(policies, base):
    with pytest.raises(ValueError, match="do not fit"):
        front_of(["a", "b"], ["empathy", "safety"], np.zeros(policies), np.zeros(base))


def point(name, empathy, safety, spread=0.1):
    rates = {
        key: Statistic(value, value - spread, value + spread, 60)
        for key, value in (("empathy", empathy), ("safety", safety))
    }
    return Point(name=name, win_rates=rates, rewards={}, on_front=True, front_share=1.0)


POINTS = [point("bold", 0.9, 0.5), point("even", 0.7, 0.66), point("careful", 0.6, 0.7), point("odd", 0.65, 0.64)]


def test_the_operating_point_has_the_most_of_the_primary_criterion_among_those_whose_lower_bound_keeps_the_floor():
    assert operating_point(POINTS, "empathy", {"safety": 0.55}).point == "even"
    assert operating_point(POINTS, "empathy", {"safety": 0.57}).point == "careful"
    assert operating_point(POINTS, "empathy", {"safety": 0.0}).point == "bold"
    assert operating_point(POINTS, "empathy", {}).point == "bold"
    assert operating_point(POINTS[::-1], "empathy", {"safety": 0.55}).point == "even"


def test_every_floor_counts_also_one_on_the_primary_criterion():
    assert operating_point(POINTS, "empathy", {"safety": 0.55, "empathy": 0.59}).point == "even"
    assert operating_point(POINTS, "safety", {"empathy": 0.5}).point == "careful"


def test_a_value_above_the_floor_is_not_enough():
    assert operating_point([POINTS[1]], "empathy", {"safety": 0.6}).point is None


def test_where_no_point_keeps_the_floors_the_nearest_is_named_with_what_it_reaches():
    found = operating_point(POINTS, "empathy", {"safety": 0.7})
    assert (found.point, found.nearest) == (None, "careful")
    assert "careful comes nearest with safety 0.60 (floor 0.7)" in found.reason


def test_no_points_make_no_operating_point():
    assert operating_point([], "empathy", {"safety": 0.5}).reason == "there is no point"
