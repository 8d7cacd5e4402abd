from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from annotation.errors import InputError
from annotation.splits import passes_filter, split_by_length, split_by_shares


def test_the_filter_keeps_10_to_2000_characters_and_3_words():
    assert passes_filter("one two 10")
    assert passes_filter("a b " + "c" * 1996)
    assert not passes_filter("a b c d e")
    assert not passes_filter("a b " + "c" * 1997)
    assert not passes_filter("only twowords")


def test_the_draw_is_that_of_scikit_learn_on_the_frame():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"text": ["x" * n for n in rng.integers(10, 400, 200)]})
    frame["quartile"] = pd.qcut(frame["text"].str.len(), 4)
    train, test = train_test_split(frame, test_size=60, random_state=42, stratify=frame["quartile"])
    assert split_by_length(list(frame["text"]), 60, 42) == (list(train.index), list(test.index))


def test_a_share_is_drawn_too_and_zero_keeps_all():
    texts = ["x" * n for n in range(10, 50)]
    assert len(split_by_length(texts, 0.25, 1)[1]) == 10
    assert split_by_length(texts, 0, 1) == (list(range(40)), [])


@pytest.mark.parametrize("texts", [["x" * 10] * 40, ["x" * n for n in range(10, 16)], ["x" * 12]])
def test_what_cannot_be_stratified_is_refused_in_a_line(texts):
    with pytest.raises(InputError, match=r"^--test-size 5: cannot be drawn from \d+ prompts.*0 to keep all"):
        split_by_length(texts, 5, 42)


@given(
    st.lists(st.booleans(), min_size=1, max_size=80),
    st.integers(0, 9),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_shares_hold_in_the_whole_and_in_each_stratum(strata, train, test, seed):
    shares = {"train": train, "test": test}
    splits = split_by_shares(strata, shares, seed)
    assert len(splits) == len(strata)
    assert abs(Counter(splits)["test"] - len(strata) * test / (train + test)) < 1
    for stratum in (True, False):
        within = [split for split, item in zip(splits, strata, strict=True) if item == stratum]
        assert abs(within.count("test") - len(within) * test / (train + test)) <= 2


def test_shares_that_mean_nothing_are_refused():
    for shares in ({"train": 0}, {"train": 2, "test": -1}):
        with pytest.raises(InputError, match="shares"):
            split_by_shares([1, 2], shares, 0)
