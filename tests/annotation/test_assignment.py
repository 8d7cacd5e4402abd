import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.assignment import (
    draw_orders,
    draw_overlap,
    draw_sequences,
    draw_session,
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


@given(sizes, few, seeds, st.data())
@settings(deadline=None)
def test_orders_are_balanced_within_each_group_of_items_too(n_items, n_raters, seed, data):
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items)))
    overlap = np.random.default_rng(seed).random((n_items, n_raters)) < data.draw(st.floats(0.2, 1))
    orders = draw_orders(n_items, n_raters, seed, overlap=overlap, groups=groups)
    assert not (orders & ~overlap).any()
    assert imbalance(orders, overlap, 0).max() <= 1
    assert imbalance(orders, overlap, 1).max() <= 1
    assert imbalance(orders, overlap, None) <= 1
    for group in range(4):
        assert imbalance(orders[groups == group], overlap[groups == group], 0).max() <= 1
        assert imbalance(orders[groups == group], overlap[groups == group], None) <= 1


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


def all_pairs(n_prompts, n_groups):
    """The prompts and groups of a design with an item of every group on every prompt."""
    return np.repeat(np.arange(n_prompts), n_groups), np.tile(np.arange(n_groups), n_prompts)


@pytest.mark.parametrize(
    ("sizes", "again"),
    # (prompts, pairs of systems, raters, raters an item) -> how often at most a rater is given a prompt anew. By lot it
    # would be 120, 90, 80 and 180 times; six raters for the nine places of a prompt cannot do with less than 180.
    [((60, 3, 6, 2), 25), ((60, 2, 6, 3), 30), ((60, 3, 9, 2), 10), ((60, 3, 6, 3), 180)],
)
def test_an_overlap_is_balanced_within_each_group_and_spares_raters_the_same_prompt(sizes, again):
    n_prompts, n_groups, n_raters, k = sizes
    prompts, groups = all_pairs(n_prompts, n_groups)
    for seed in range(3):
        overlap = draw_overlap(len(prompts), n_raters, k, seed, groups=groups, prompts=prompts)
        assert (overlap.sum(axis=1) == k).all()
        assert np.ptp(overlap.sum(axis=0)) <= 1
        for group in range(n_groups):
            of_group = overlap[groups == group]
            assert np.ptp(of_group.sum(axis=0)) <= 1
            assert np.ptp(shared_items(of_group)[~np.eye(n_raters, dtype=bool)]) <= 1
        met = np.stack([overlap[prompts == prompt].sum(axis=0) for prompt in range(n_prompts)])
        assert (met * (met - 1) // 2).sum() <= again


@given(few, few, few, seeds, st.data())
@settings(deadline=None)
def test_loads_are_even_in_each_group_of_items_whatever_its_size(n_prompts, n_groups, n_raters, seed, data):
    prompts, groups = all_pairs(n_prompts, n_groups)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(prompts), max_size=len(prompts)).filter(any)))
    prompts, groups = prompts[kept], groups[kept]
    k = data.draw(st.integers(1, n_raters))
    overlap = draw_overlap(len(prompts), n_raters, k, seed, groups=groups, prompts=prompts)
    assert (overlap.sum(axis=1) == k).all()
    assert np.ptp(overlap.sum(axis=0)) <= 1
    assert all(np.ptp(overlap[groups == group].sum(axis=0)) <= 1 for group in range(n_groups))


@given(st.integers(1, 20), st.integers(1, 6), seeds)
@settings(deadline=None)
def test_a_session_meets_every_prompt_once_a_round_and_every_group_as_often(n_prompts, n_groups, seed):
    prompts, groups = all_pairs(n_prompts, n_groups)
    items = np.random.default_rng(seed).permutation(len(prompts)).tolist()
    session = draw_session(items, prompts, groups, seed)
    rounds = np.reshape(session, (n_groups, n_prompts))
    assert sorted(session) == sorted(items)
    assert (prompts[rounds] == prompts[rounds[0]]).all()
    assert len(set(prompts[rounds[0]])) == n_prompts
    for turn in rounds:
        assert np.ptp(np.bincount(groups[turn], minlength=n_groups)) <= 1
    assert session == draw_session(items, prompts, groups, seed)


@given(st.integers(1, 12), st.integers(1, 4), seeds, st.data())
@settings(deadline=None)
def test_where_a_rater_has_a_part_of_the_pairs_a_prompt_returns_after_a_whole_round(n_prompts, n_groups, seed, data):
    prompts, groups = all_pairs(n_prompts, n_groups)
    items = data.draw(st.permutations(range(len(prompts))))[: data.draw(st.integers(0, len(prompts)))]
    session = draw_session(items, prompts, groups, seed)
    assert sorted(session) == sorted(items)
    times = np.bincount(prompts[items], minlength=n_prompts) if items else np.zeros(1)
    again = {}
    for place, prompt in enumerate(prompts[session].tolist()):
        sight, before = again.get(prompt, (0, None))
        # A round has all the prompts that are met at least as often.
        assert before is None or place - before == (times >= sight).sum()
        again[prompt] = sight + 1, place


def test_which_group_comes_first_is_drawn_for_each_prompt():
    prompts, groups = all_pairs(9, 3)
    first = [groups[draw_session(range(27), prompts, groups, seed)[:9]] for seed in range(300)]
    for group in range(3):
        assert np.mean(np.array(first) == group, axis=0) == pytest.approx(np.full(9, 1 / 3), abs=0.12)  # 4.4 errors
    assert len({tuple(sequence) for sequence in first}) > 100


def test_one_item_a_prompt_keeps_its_drawn_order():
    items = np.random.default_rng(1).permutation(30).tolist()
    assert draw_session(items, np.arange(30), np.zeros(30, dtype=int), 5) == items


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


def test_repeats_are_of_all_groups_alike_and_return_away_from_their_prompt():
    prompts, groups = all_pairs(30, 3)
    for seed in range(20):
        items = draw_session(np.random.default_rng(seed).permutation(90).tolist(), prompts, groups, seed)
        session = place_repeats(items, 10, seed, prompts=prompts[items], groups=groups[items])
        again = {item: place for place, (item, sight) in enumerate(session) if sight == 2}
        assert sorted(np.bincount(groups[list(again)]).tolist()) == [3, 3, 4]
        for item, place in again.items():
            apart = [abs(place - p) for p, (other, _) in enumerate(session) if prompts[other] == prompts[item]]
            assert sorted(apart)[1] >= 8  # A quarter of a third of 100.


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


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=30), seeds)
@settings(deadline=None)
def test_repeats_are_halved_so_in_each_group(drawn, seed):
    first = np.array([left for left, _ in drawn], dtype=bool)
    groups = np.array([group for _, group in drawn], dtype=int)
    second = redraw_orders(first, seed, groups=groups)
    assert abs(2 * second.sum() - first.size) <= 1
    for group in range(3):
        of_group = groups == group
        assert abs(2 * second[of_group].sum() - of_group.sum()) <= 1
        assert abs(2 * (second != first)[of_group].sum() - of_group.sum()) <= 2
