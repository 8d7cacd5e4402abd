import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import friedmanchisquare, kendalltau, rankdata

from evaluation.rankings import kendall_tau_b, kendall_w, ranking_agreement

scores = arrays(np.int64, st.tuples(st.integers(2, 6), st.integers(3, 6)), elements=st.integers(0, 4))


@given(scores)
@settings(max_examples=60, deadline=None)
def test_tau_b_of_each_two_raters_equals_scipy(values):
    found = kendall_tau_b(values)
    for a in range(len(values)):
        for b in range(len(values)):
            expected = kendalltau(values[a], values[b]).statistic
            assert found[a, b] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(scores)
@settings(max_examples=60, deadline=None)
def test_w_with_ties_is_that_of_friedmans_test(values):
    ranks = np.array([rankdata(row) for row in values])
    assume(any(len(set(row)) > 1 for row in values))
    chi2 = friedmanchisquare(*ranks.T).statistic
    assert kendall_w(ranks) == pytest.approx(chi2 / (ranks.shape[0] * (ranks.shape[1] - 1)), abs=1e-12)


def test_w_is_1_for_one_order_and_0_for_each_order_with_its_opposite():
    assert kendall_w([[1, 2, 3, 4]] * 3) == 1
    assert kendall_w([[1, 2, 3, 4], [4, 3, 2, 1]]) == 0
    assert np.isnan(kendall_w([[2, 2, 2], [2, 2, 2]]))


def frame_of(rankings):
    """Rows of {prompt: {rater: ranks}}."""
    rows = [
        (prompt, rater, f"r{response}", rank)
        for prompt, raters in rankings.items()
        for rater, ranks in raters.items()
        for response, rank in enumerate(ranks)
        if rank
    ]
    return pd.DataFrame(rows, columns=["prompt", "rater", "response", "rank"])


@pytest.mark.parametrize("raters", [2, 3, 4])
def test_w_of_raters_who_rank_at_random_is_1_over_their_number_on_average(raters):
    orders = itertools.product(itertools.permutations(range(3)), repeat=raters)
    assert np.mean([kendall_w(ranks) for ranks in orders]) == pytest.approx(1 / raters)


def test_a_study_has_the_mean_over_its_prompts_and_says_how_many():
    frame = frame_of(
        {
            "q1": {"R1": [1, 2, 3], "R2": [1, 2, 3]},
            "q2": {"R1": [1, 2, 3], "R2": [3, 2, 1]},
            "q3": {"R1": [1, 2, 3]},
            "q4": {"R1": [1, 2, 3], "R2": [1, 2, None]},
        }
    )
    found = ranking_agreement(frame, draws=200)
    assert found["kendall_tau_b"].value == 0
    assert found["kendall_w"].value == 0.5
    assert found["kendall_w"].n == found["kendall_tau_b"].n == 2
    assert found["kendall_w"].low <= 0.5 <= found["kendall_w"].high
    assert found["chance_w"].value == 0.5


def test_raters_are_compared_with_those_who_ranked_the_same_responses_of_a_prompt():
    q1 = {"R1": [1, 2, None], "R2": [1, 2, None], "R3": [None, 1, 2], "R4": [None, 2, 1], "R5": [1, None, 2]}
    q2 = {"R1": [1, 2, 3], "R2": [1, 2, 3], "R3": [1, 2, 3], "R4": [1, 2, 3]}
    found = ranking_agreement(frame_of({"q1": q1, "q2": q2}), draws=200)
    assert found["kendall_w"].value == pytest.approx((1 + 0 + 1) / 3)
    assert found["kendall_tau_b"].value == pytest.approx((1 - 1 + 1) / 3)
    assert found["chance_w"].value == pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3)
    assert found["kendall_w"].n == 3


def test_rankings_by_one_rater_alone_say_why_they_have_no_agreement():
    found = ranking_agreement(frame_of({"q1": {"R1": [1, 2, 3]}}), draws=10)
    assert all("two raters" in statistic.reason for statistic in found.values())


def test_a_frame_of_rankings_that_cannot_be_read_is_refused():
    frame = frame_of({"q1": {"R1": [1, 2]}})
    with pytest.raises(ValueError, match="no column rank"):
        ranking_agreement(frame.drop(columns="rank"))
    with pytest.raises(ValueError, match="twice"):
        ranking_agreement(pd.concat([frame, frame]))
