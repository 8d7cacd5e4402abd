import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from training.aggregation import AGGREGATIONS, borda, plackett_luce, symmetric_weights, weighted_voting

BALLOTS = st.integers(2, 6).flatmap(lambda n: st.lists(st.permutations(range(1, n + 1)), min_size=1, max_size=12))
VECTORS = json.loads((Path(__file__).parents[1] / "data" / "voting_vectors.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_voting_agrees_with_the_reference_vectors(vector):
    result = weighted_voting(vector["ballots_best_to_worst"])
    expected = vector["expected"]
    assert result.scores == {int(number): score for number, score in expected["scores"].items()}
    assert result.order == expected["ranking_best_to_worst"]
    assert result.valid_ballots == expected["valid_ballots"]


def test_the_papers_weights_stand_for_5_and_10_and_equal_steps_for_others():
    assert symmetric_weights(5) == (10, 5, 0, -5, -10)
    assert symmetric_weights(10) == (45, 36, 27, 18, 9, -9, -18, -27, -36, -45)
    assert symmetric_weights(2) == (1, -1)
    assert symmetric_weights(4) == (3, 1, -1, -3)
    for n in (0, 1):
        with pytest.raises(ValueError, match="two responses"):
            symmetric_weights(n)


@given(st.integers(2, 12).flatmap(lambda n: st.lists(st.permutations(range(1, n + 1)), min_size=1)))
def test_scores_sum_to_zero_and_the_order_of_ballots_does_not_matter(ballots):
    weights = symmetric_weights(len(ballots[0]))
    result = weighted_voting(ballots, weights)
    assert sum(result.scores.values()) == 0
    assert result == weighted_voting(reversed(ballots), weights)
    assert sorted(result.order) == sorted(ballots[0])


def test_one_ballot_is_returned_as_it_is():
    assert weighted_voting([[3, 1, 2]], [1, 0, -1]).order == [3, 1, 2]
    assert weighted_voting(np.array([[3, 1, 5, 2, 4]])).order == [3, 1, 5, 2, 4]


def test_ballots_that_are_none_do_not_count():
    result = weighted_voting([None, "12345", [1, 2, 3, 4, None], [], [1, 2, 3, 4, 5, 6], [5, 4, 3, 2, 1]])
    assert (result.valid_ballots, result.order) == (1, [5, 4, 3, 2, 1])


@pytest.mark.parametrize("aggregate", AGGREGATIONS.values(), ids=AGGREGATIONS)
def test_every_aggregation_keeps_the_interface(aggregate):
    result = aggregate([[3, 1, 2], [3, 2, 1], np.array([3, 1, 2]), [1, 2], None], 3)
    assert (result.order, result.valid_ballots) == ([3, 1, 2], 3)
    assert sorted(result.scores) == [1, 2, 3]
    assert result.scores[3] > result.scores[1] > result.scores[2]
    assert all(type(score) is float for score in result.scores.values())


@pytest.mark.parametrize("aggregate", AGGREGATIONS.values(), ids=AGGREGATIONS)
def test_opposite_ballots_tie_exactly_and_the_earlier_response_stands_first(aggregate):
    result = aggregate([[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 4, 3], [3, 4, 1, 2]], 4)
    assert len(set(result.scores.values())) == 1
    assert result.order == [1, 2, 3, 4]
    assert aggregate([], 4).order == [1, 2, 3, 4]


@pytest.mark.parametrize("aggregate", AGGREGATIONS.values(), ids=AGGREGATIONS)
def test_one_response_is_no_ranking(aggregate):
    for n in (0, 1):
        with pytest.raises(ValueError, match="two responses"):
            aggregate([[1]], n)


@pytest.mark.parametrize("aggregate", AGGREGATIONS.values(), ids=AGGREGATIONS)
@given(ballots=BALLOTS, seed=st.randoms(use_true_random=False))
def test_renaming_the_responses_renames_the_scores(aggregate, ballots, seed):
    n = len(ballots[0])
    names = seed.sample(range(1, n + 1), n)
    scores = aggregate(ballots, n).scores
    renamed = aggregate([[names[number - 1] for number in ballot] for ballot in ballots], n).scores
    assert all(renamed[names[number - 1]] == pytest.approx(scores[number], abs=2e-6) for number in scores)


@given(BALLOTS)
def test_a_borda_count_is_the_number_of_responses_beaten(ballots):
    n = len(ballots[0])
    scores = borda(ballots, n).scores
    assert scores == {
        i: sum(ballot.index(j) > ballot.index(i) for ballot in ballots for j in range(1, n + 1)) for i in scores
    }


@given(st.lists(st.permutations(range(1, 6)), min_size=1))
def test_with_the_papers_five_weights_borda_orders_as_voting_does(ballots):
    assert borda(ballots, 5).order == weighted_voting(ballots).order


def test_with_the_papers_ten_weights_borda_and_voting_can_part():
    # The ten weights fall by 9, but by 18 in the middle: response 2 crosses it twice, response 1 never.
    ballots = [[3, 4, 5, 2, 1, 6, 7, 8, 9, 10]] * 3 + [[3, 4, 5, 6, 1, 2, 7, 8, 9, 10]] * 2
    points, votes = borda(ballots, 10).scores, weighted_voting(ballots, symmetric_weights(10)).scores
    assert (points[1], points[2]) == (25, 26)
    assert (votes[1], votes[2]) == (45, 36)


def test_two_responses_have_the_odds_of_bradley_and_terry():
    scores = plackett_luce([[1, 2]] * 7 + [[2, 1]] * 3, 2, prior=1e-6).scores
    assert scores[1] - scores[2] == pytest.approx(np.log(7 / 3), abs=1e-5)


def test_ballots_in_the_proportions_of_known_worths_give_them_back():
    # With worths 1, 2, 3 the chance of order (a, b, c) is a/6 * b/(6 - a): 60 times that is a whole number.
    times = {(1, 2, 3): 4, (1, 3, 2): 6, (2, 1, 3): 5, (2, 3, 1): 15, (3, 1, 2): 10, (3, 2, 1): 20}
    ballots = [ballot for ballot, count in times.items() for _ in range(count)]
    scores = plackett_luce(ballots, 3, prior=1e-6).scores
    assert scores[2] - scores[1] == pytest.approx(np.log(2), abs=1e-5)
    assert scores[3] - scores[1] == pytest.approx(np.log(3), abs=1e-5)


def likelihood(log_worths, ballots, prior):
    """Minus the log-likelihood, written out choice by choice; the last response is the imagined one."""
    imagined = len(log_worths) - 1
    rounds = [(ballot[place:], 1.0) for ballot in ballots for place in range(len(ballot) - 1)]
    rounds += [(pair, prior) for i in range(imagined) for pair in ([i, imagined], [imagined, i])]
    return -sum(times * (log_worths[left[0]] - np.logaddexp.reduce(log_worths[left])) for left, times in rounds)


@pytest.mark.parametrize(
    "ballots",
    [
        [[1, 2, 3, 4, 5]],
        [[2, 1, 3], [1, 2, 3], [3, 1, 2], [2, 3, 1]],
        [[5, 4, 3, 2, 1]] * 6 + [[5, 1, 2, 3, 4]] * 2,
        np.argsort(-(np.random.default_rng(0).gumbel(size=(30, 6)) + np.arange(6)), axis=1) + 1,
    ],
    ids=["one ballot", "a cycle", "never beaten", "30 ballots"],
)
@pytest.mark.parametrize("prior", [0.1, 0.5, 2.0])
def test_worths_are_those_an_optimiser_finds(ballots, prior):
    n = len(ballots[0])
    indices = [[number - 1 for number in ballot] for ballot in ballots]
    found = minimize(likelihood, np.zeros(n + 1), args=(indices, prior), method="BFGS", options={"gtol": 1e-7}).x[:n]
    scores = plackett_luce(ballots, n, prior=prior).scores
    assert list(scores.values()) == pytest.approx(found - found.mean(), abs=1e-4)


def test_a_response_that_always_wins_has_a_finite_worth_that_grows_with_the_ballots():
    few, many = (plackett_luce([[1, 2, 3]] * count, 3).scores for count in (1, 100_000))
    assert 0 < few[1] < many[1] < 20
    assert many[2] == pytest.approx(0, abs=0.01)


def test_opinions_that_are_one_converge_with_ten_responses_too():
    scores = plackett_luce([list(range(1, 11))] * 1000, 10).scores
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_a_prior_of_nothing_is_refused():
    for prior in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="must be above 0"):
            plackett_luce([[1, 2]], 2, prior=prior)


def test_without_a_valid_ballot_all_tie():
    result = weighted_voting([])
    assert (result.scores, result.order, result.valid_ballots) == (dict.fromkeys(range(1, 6), 0), [1, 2, 3, 4, 5], 0)


def test_weights_are_required():
    with pytest.raises(ValueError, match="a weight for each rank"):
        weighted_voting([[1]], [])
