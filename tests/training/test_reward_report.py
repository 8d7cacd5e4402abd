"""What is said of a reward model: intervals that cluster by prompt, calibration, length bias."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.accuracy import effective_size, pair_accuracy, wilson_interval
from training.pairs import PreferencePair
from training.reward_report import ScoredPairs, calibration, length_bias, reward_report


def grid(better, worse):
    """Ids of the prompts of all pairs of one of these with one of those."""
    return tuple(zip(*product([f"b{n}" for n in range(better)], [f"w{n}" for n in range(worse)]), strict=True))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_the_variance_is_the_sum_over_pairs_that_share_a_prompt(rows):
    values, clusters = np.array([row[0] for row in rows], float), np.array([row[1:] for row in rows]).T
    _, clusters = np.unique(clusters, return_inverse=True)
    clusters = clusters.reshape(2, -1)
    n, count, share = len(rows), clusters.max() + 1, values.mean()
    if share in {0, 1} or count == 1:
        return
    residuals = values - share
    shared = [
        residuals[i] * residuals[j] for i, j in product(range(n), repeat=2) if set(clusters[:, i]) & set(clusters[:, j])
    ]
    variance = count / (count - 1) * sum(shared) / n**2
    expected = n if variance <= 1e-12 else min(n, max(share * (1 - share) / variance, 1))
    assert effective_size(values, clusters) == pytest.approx(expected)


def test_the_interval_of_pairs_across_prompts_covers_the_truth():
    # Two normal samples a deviation apart: the true accuracy is Phi(1 / sqrt 2).
    truth = 0.5 * (1 + math.erf(0.5))
    draw = np.random.default_rng(0)
    ids = grid(15, 30)
    covered, naive = 0, 0
    for _ in range(200):
        correct = (draw.normal(1, 1, 15)[:, None] > draw.normal(0, 1, 30)[None, :]).astype(float).ravel()
        accuracy = pair_accuracy(correct.tolist(), *ids)
        covered += accuracy["low"] <= truth <= accuracy["high"]
        low, high = wilson_interval(accuracy["value"], accuracy["n"])
        naive += low <= truth <= high
    assert 0.91 <= covered / 200 <= 0.98
    assert naive / 200 < 0.6


def test_without_a_mistake_only_pairs_without_a_common_prompt_count():
    accuracy = pair_accuracy([1.0] * 12, *grid(3, 4))
    assert (accuracy["n"], accuracy["prompts"]) == (12, 7)
    assert accuracy["low"] == pytest.approx(wilson_interval(1.0, 3)[0])


def scored(*rows):
    """Pairs by (chosen score, rejected score, length of chosen, length of rejected), each of a prompt of its own."""
    pairs = [PreferencePair(f"q{n}", "P", f"a{n}", "a" * row[2], f"b{n}", "b" * row[3]) for n, row in enumerate(rows)]
    return ScoredPairs(pairs, np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float))


def test_calibration_sets_what_is_stated_against_what_is_seen():
    # Odds of 3 to 1, once right and once wrong: 0.75 stated, 0.5 seen.
    result = calibration(scored((math.log(3), 0, 1, 2), (0, math.log(3), 2, 1)))
    [only] = result["bins"]
    assert (only["from"], only["to"], only["observed"]["n"]) == (0.75, 0.8, 2)
    assert only["stated"] == pytest.approx(0.75)
    assert only["observed"]["value"] == 0.5
    assert result["ece"] == pytest.approx(0.25)
    assert result["brier"] == pytest.approx((0.25**2 + 0.75**2) / 2)


def test_scores_that_mean_what_they_say_are_calibrated_and_exaggerated_ones_are_not():
    draw = np.random.default_rng(0)
    gaps = draw.normal(0, 1.5, 4000)
    right = draw.random(4000) < 1 / (1 + np.exp(-gaps))
    differences = np.where(right, gaps, -gaps)
    honest = calibration(scored(*((gap, 0, 1, 1) for gap in differences)))
    loud = calibration(scored(*((5 * gap, 0, 1, 1) for gap in differences)))
    assert honest["ece"] < 0.02 < 0.1 < loud["ece"]
    assert honest["brier"] < 0.25
    assert honest["brier"] < loud["brier"]
    assert sum(one["observed"]["n"] for one in honest["bins"]) == 4000


def test_a_model_that_says_nothing_has_the_brier_score_of_a_coin():
    result = calibration(scored((1, 1, 1, 1), (2, 2, 1, 1)))
    assert (result["brier"], result["ece"]) == (0.25, 0)


def test_a_model_that_goes_by_length_is_shown_up():
    rows = [(9, 4, 9, 4), (7, 3, 7, 3), (2, 5, 2, 5), (6, 6, 6, 6)]
    bias = length_bias(scored(*rows))
    assert (bias["longer_preferred"]["value"], bias["longer_preferred"]["n"]) == (1.0, 2)
    assert (bias["shorter_preferred"]["value"], bias["shorter_preferred"]["n"]) == (0.0, 1)
    assert (bias["longer_wins"]["value"], bias["longer_wins"]["n"]) == (pytest.approx(2 / 3), 3)


def test_what_cannot_be_known_has_a_reason():
    report = reward_report(scored((1, 0, 3, 3)))
    assert report["length_bias"]["longer_preferred"]["value"] is None
    assert report["length_bias"]["longer_preferred"]["reason"]
    nothing = reward_report(ScoredPairs([], np.array([]), np.array([])))
    assert nothing["accuracy"]["reason"]
    assert nothing["calibration"]["reason"]
    assert nothing["calibration"]["ece"] is None


def test_each_pair_is_looked_up_under_its_own_prompt():
    across = PreferencePair("q1", "P", "a", "same", "b", "same", rejected_prompt_id="q2", rejected_prompt="Q")
    result = ScoredPairs.of([across], {("P", "same"): 2.0, ("Q", "same"): 3.0})
    assert result.accuracy()["value"] == 0.0
