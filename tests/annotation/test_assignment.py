import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.assignment import (
    draw_orders,
    draw_overlap,
    draw_sequences,
    place_repeats,
    redraw_orders,
    shared_items,
)
from annotation.errors import InputError

sizes = st.integers(1, 40)
few = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


def imbalance(orders, overlap, axis):
    """Left minus right, along the axis."""
    return np.abs(2 * orders.sum(axis=axis) - overlap.sum(axis=axis))


@given(sizes, few, seeds)
@settings(deadline=None)
def test_left_and_right_are_balanced_for_every_rater_and_every_item(n_items, n_raters, seed):
    orders = draw_orders(n_items, n_raters, seed)
    everyone = np.ones((n_items, n_raters), dtype=bool)
    assert orders.shape == (n_items, n_raters)
    assert orders.dtype == bool
    assert imbalance(orders, everyone, 0).max() <= 1
    assert imbalance(orders, everyone, 1).max() <= 1


@given(sizes, few, seeds, st.data())
@settings(deadline=None)
def test_orders_stay_balanced_where_raters_see_only_a_part(n_items, n_raters, seed, data):
    overlap = np.array(data.draw(st.lists(st.booleans(), min_size=n_items * n_raters, max_size=n_items * n_raters)))
    overlap = overlap.reshape(n_items, n_raters)
    orders = draw_orders(n_items, n_raters, seed, overlap=overlap)
    assert not (orders & ~overlap).any()
    assert imbalance(orders, overlap, 0).max() <= 1
    assert imbalance(orders, overlap, 1).max() <= 1


def test_raters_do_not_share_one_pattern_or_its_mirror():
    for seed in range(20):
        orders = draw_orders(100, 6, seed)
        agreement = [(orders[:, i] == orders[:, j]).mean() for i in range(6) for j in range(i)]
        assert min(agreement) > 0.25
        assert max(agreement) < 0.75


def test_each_cell_is_left_in_about_half_of_the_seeds():
    share = np.mean([draw_orders(5, 3, seed) for seed in range(1000)], axis=0)
    assert np.abs(share - 0.5).max() < 0.07  # 4.4 standard errors


def test_the_same_seed_draws_the_same_and_another_seed_another():
    for draw in (draw_orders, draw_sequences):
        assert np.array_equal(draw(30, 4, 7), draw(30, 4, 7))
        assert not np.array_equal(draw(30, 4, 7), draw(30, 4, 8))
        assert not np.array_equal(draw(30, 4, (7, 0)), draw(30, 4, (7, 1)))


@given(sizes, few, seeds)
@settings(deadline=None)
def test_every_rater_meets_every_item_once(n_items, n_raters, seed):
    sequences = draw_sequences(n_items, n_raters, seed)
    assert sequences.shape == (n_raters, n_items)
    assert (np.sort(sequences, axis=1) == np.arange(n_items)).all()


def test_raters_meet_the_items_in_orders_of_their_own():
    assert len({tuple(sequence) for sequence in draw_sequences(30, 6, 1)}) == 6


@given(sizes, few, seeds, st.data())
@settings(deadline=None)
def test_an_overlap_gives_each_item_its_raters_and_each_rater_the_same_load(n_items, n_raters, seed, data):
    per_item = data.draw(st.integers(1, n_raters))
    overlap = draw_overlap(n_items, n_raters, per_item, seed)
    assert (overlap.sum(axis=1) == per_item).all()
    assert np.ptp(overlap.sum(axis=0)) <= 1


# (items, raters, raters an item) -> how far the numbers of items two raters share may lie apart. A random draw of equal
# loads is off by 17 (100 x 6 x 3) or 66 (2,000 x 12 x 4). A balanced design exists for 30 x 6 x 3 and 7 x 7 x 3; with
# 100 x 6 x 4 loads are 66 and 67, so two raters of 66 share fewer.
BALANCE = {
    (100, 6, 3): 1,
    (100, 6, 2): 1,
    (100, 6, 4): 3,
    (30, 6, 3): 1,
    (7, 7, 3): 1,
    (200, 8, 3): 1,
    (2000, 12, 4): 1,
    (500, 20, 5): 2,
}


@pytest.mark.parametrize(("sizes", "bound"), BALANCE.items())
def test_every_two_raters_share_nearly_as_many_items_as_any_other_two(sizes, bound):
    n_items, n_raters, k = sizes
    for seed in range(3):
        overlap = draw_overlap(*sizes, seed)
        assert (overlap.sum(axis=1) == k).all()
        assert np.ptp(overlap.sum(axis=0)) <= 1
        shared = shared_items(overlap)[~np.eye(n_raters, dtype=bool)]
        assert shared.mean() == pytest.approx(n_items * k * (k - 1) / (n_raters * (n_raters - 1)))
        assert np.ptp(shared) <= bound


def test_an_overlap_keeps_what_was_given_out_and_fills_up_the_rest():
    taken = np.zeros((10, 4), dtype=bool)
    taken[:, 0] = True
    taken[0] = True
    overlap = draw_overlap(10, 4, 2, 5, taken=taken)
    assert (overlap & taken == taken).all()
    assert overlap.sum(axis=1).tolist() == [4] + [2] * 9
    assert np.ptp(overlap.sum(axis=0)[1:]) <= 1


@pytest.mark.parametrize("per_item", [0, 4])
def test_an_overlap_beyond_the_raters_is_refused(per_item):
    with pytest.raises(InputError, match="choose 1 to 3"):
        draw_overlap(5, 3, per_item, 0)


@given(st.integers(0, 60), seeds, st.data())
@settings(deadline=None)
def test_a_repeated_item_returns_once_and_more_than_a_third_of_the_session_later(n_items, seed, data):
    repeats = data.draw(st.integers(0, n_items // 2))
    items = list(range(100, 100 + n_items))
    session = place_repeats(items, repeats, seed)
    firsts = [item for item, presentation in session if presentation == 1]
    again = [item for item, presentation in session if presentation == 2]
    assert firsts == items
    assert len(again) == len(set(again)) == repeats
    for item in again:
        assert session.index((item, 2)) - session.index((item, 1)) > (n_items + repeats) // 3
    assert session == place_repeats(items, repeats, seed)


def test_more_repeats_than_half_of_the_items_are_refused():
    with pytest.raises(InputError, match="at most half"):
        place_repeats(range(10), 6, 1)


def test_repeats_are_not_the_same_items_for_every_seed():
    drawn = {tuple(item for item, sight in place_repeats(range(30), 5, seed) if sight == 2) for seed in range(20)}
    assert len(drawn) == 20


@given(st.lists(st.booleans(), max_size=30), seeds)
@settings(deadline=None)
def test_half_of_the_repeats_change_sides_and_half_are_left(first, seed):
    first = np.array(first, dtype=bool)
    second = redraw_orders(first, seed)
    assert second.shape == first.shape
    assert abs(2 * second.sum() - first.size) <= 1
    assert abs(2 * (second != first).sum() - first.size) <= 2
