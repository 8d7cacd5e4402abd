"""Many rankings of the same responses into one order: symmetrical weighted voting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PAPER_WEIGHTS = {
    5: (10.0, 5.0, 0.0, -5.0, -10.0),
    10: (45.0, 36.0, 27.0, 18.0, 9.0, -9.0, -18.0, -27.0, -36.0, -45.0),
}


@dataclass(frozen=True)
class VotingResult:
    """`scores` by response number, `order` of the numbers best to worst, and how many ballots counted."""

    scores: dict[int, float]
    order: list[int]
    valid_ballots: int


def symmetric_weights(n: int) -> tuple[float, ...]:
    """The weight of each rank among n responses, best first; they sum to 0.

    The paper gives weights for 5 and for 10. For other n they fall in equal steps of 2: n - 1, n - 3, ..., 1 - n.

    Raises:
        ValueError: n is below 2.
    """
    if n < 2:
        raise ValueError("a ranking needs two responses at least")
    return PAPER_WEIGHTS.get(n) or tuple(float(n + 1 - 2 * rank) for rank in range(1, n + 1))


def weighted_voting(ballots: Iterable[Any], weights: Sequence[float] | None = None) -> VotingResult:
    """Scores and order of the responses 1..n, n being the number of weights.

    Args:
        ballots: each lists the response numbers best to worst; one that is no permutation of 1..n does not count.
        weights: of each rank, best first; the paper's five by default.

    Equal scores keep the lower response number first (the authors' stable sort).

    Raises:
        ValueError: there are no weights.
    """
    weights = PAPER_WEIGHTS[5] if weights is None else weights
    if not len(weights):
        raise ValueError("weighted voting needs a weight for each rank")
    numbers = list(range(1, len(weights) + 1))
    scores = dict.fromkeys(numbers, 0.0)
    valid = 0
    for ballot in ballots:
        if not _is_permutation(ballot, numbers):
            continue
        valid += 1
        for number, weight in zip(ballot, weights, strict=True):
            scores[number] += weight
    return VotingResult(scores, sorted(numbers, key=lambda number: -scores[number]), valid)


def _is_permutation(ballot: Any, numbers: list[int]) -> bool:
    try:
        return sorted(ballot) == numbers
    except TypeError:
        return False
