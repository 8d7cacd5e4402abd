"""The fixed order of training."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from training.order import training_order


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_each_pass_holds_every_row_once(lengths, epochs, batch_size, seed):
    order = training_order(lengths, epochs=epochs, batch_size=batch_size, seed=seed)
    assert Counter(order) == dict.fromkeys(range(len(lengths)), epochs)
    assert order == training_order(lengths, epochs=epochs, batch_size=batch_size, seed=seed)


def test_a_batch_holds_rows_of_like_length_and_batches_come_in_no_order_of_length():
    lengths = [(37 * row) % 101 for row in range(100)]
    order = training_order(lengths, epochs=1, batch_size=4, seed=0)
    batches = [sorted(lengths[row] for row in order[start : start + 4]) for start in range(0, 100, 4)]
    assert max(batch[-1] - batch[0] for batch in batches) <= 8
    assert batches != sorted(batches)


def test_passes_and_seeds_differ():
    first = training_order([1] * 20, epochs=2, batch_size=4, seed=0)
    assert first[:20] != first[20:]
    assert first != training_order([1] * 20, epochs=2, batch_size=4, seed=1)


def test_part_of_a_pass_stops_early():
    assert len(training_order([1] * 20, epochs=0.5, batch_size=4, seed=0)) == 10
    assert len(training_order([1] * 20, epochs=0.01, batch_size=4, seed=0)) == 1


@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=40), st.integers(0, 99))
def test_a_row_comes_in_proportion_to_its_weight(weights, seed):
    order = training_order([1] * len(weights), epochs=1, batch_size=1, seed=seed, weights=weights)
    assert len(order) == len(weights)
    counts, unit = Counter(order), sum(weights) / len(weights)
    assert all(abs(counts[row] - weight / unit) < 1 + 1e-6 for row, weight in enumerate(weights))


def test_equal_weights_change_nothing():
    lengths = [(37 * row) % 101 for row in range(100)]
    options = {"epochs": 2, "batch_size": 4, "seed": 0}
    assert training_order(lengths, **options, weights=[0.1] * 100) == training_order(lengths, **options)
