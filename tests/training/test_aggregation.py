import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.aggregation import symmetric_weights, weighted_voting

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


def test_without_a_valid_ballot_all_tie():
    result = weighted_voting([])
    assert (result.scores, result.order, result.valid_ballots) == (dict.fromkeys(range(1, 6), 0), [1, 2, 3, 4, 5], 0)


def test_weights_are_required():
    with pytest.raises(ValueError, match="a weight for each rank"):
        weighted_voting([[1]], [])
