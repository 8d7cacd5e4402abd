from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import InputError
from annotation.sampling import draw_sample, strata_of

seeds = st.integers(0, 2**32 - 1)
items = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=80)


@given(items, seeds, st.data())
@settings(deadline=None)
def test_each_stratum_gives_its_share_to_within_one_prompt(strata, seed, data):
    size = data.draw(st.integers(1, len(strata)))
    drawn = draw_sample(strata, size, seed)
    assert len(drawn) == len(set(drawn)) == size
    assert drawn == sorted(drawn)
    there, taken = Counter(strata), Counter(strata[item] for item in drawn)
    assert all(abs(taken[stratum] - size * there[stratum] / len(strata)) < 1 for stratum in there)


@given(items, seeds)
@settings(deadline=None)
def test_the_seed_alone_decides_which_prompts_are_drawn(strata, seed):
    size = (len(strata) + 1) // 2
    assert draw_sample(strata, size, seed) == draw_sample(strata, size, seed)


def test_every_prompt_of_a_stratum_is_drawn_about_equally_often():
    counts = Counter(item for seed in range(2000) for item in draw_sample("aaaaabbbbb", 4, seed))
    assert np.ptp([counts[item] for item in range(10)]) < 120  # 800 expected each, 22 the standard deviation


@pytest.mark.parametrize("size", [0, 4])
def test_more_prompts_than_there_are_cannot_be_drawn(size):
    with pytest.raises(InputError, match="choose 1 to 3"):
        draw_sample("aab", size, 1)


def test_strata_are_risk_and_thirds_of_length():
    strata = strata_of([False] * 5 + [True], [10, 20, 30, 40, 50, 60])
    assert strata == ["no risk, short"] * 2 + ["no risk, medium"] * 2 + ["no risk, long", "risk, long"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_prompts_of_one_length_are_of_one_stratum_and_longer_ones_of_no_shorter_one(lengths):
    order = {"short": 0, "medium": 1, "long": 2}
    strata = [order[stratum.split(", ")[1]] for stratum in strata_of([False] * len(lengths), lengths)]
    for length, stratum in zip(lengths, strata, strict=True):
        assert all(stratum <= other for longer, other in zip(lengths, strata, strict=True) if longer >= length)
