"""Many rankings of the same responses into one order: weighted voting, Borda counts, Plackett-Luce worths."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PAPER_WEIGHTS = {
    5: (10.0, 5.0, 0.0, -5.0, -10.0),
    10: (45.0, 36.0, 27.0, 18.0, 9.0, -9.0, -18.0, -27.0, -36.0, -45.0),
}
# Wins and losses that Plackett-Luce gives every response against one imagined response (Turner et al. 2020).
PRIOR = 0.5
# Plackett-Luce stops when no log-worth moves by more, and rounds to fewer digits, so that equal worths are equal.
TOLERANCE, DIGITS, MOST_STEPS = 1e-9, 6, 500


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
    _require_two(n)
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
    scores = dict.fromkeys(range(1, len(weights) + 1), 0.0)
    valid = 0
    for ballot in _valid(ballots, len(weights)):
        valid += 1
        for number, weight in zip(ballot, weights, strict=True):
            scores[number] += weight
    return _result(scores, valid)


def borda(ballots: Iterable[Any], n: int) -> VotingResult:
    """Borda counts: on each ballot a response gets a point for every response below it.

    Where the voting weights fall in equal steps, as for 5 responses, the order is that of weighted voting.

    Raises:
        ValueError: n is below 2.
    """
    _require_two(n)
    return weighted_voting(ballots, [float(points) for points in range(n - 1, -1, -1)])


def plackett_luce(ballots: Iterable[Any], n: int, *, prior: float = PRIOR) -> VotingResult:
    """Log-worths of the Plackett-Luce model, in nats, mean 0: of those left, i comes next in proportion to its worth.

    A response that is always first, or always last, has no finite likelihood estimate. So each has won and lost
    `prior` times against one imagined response, whose worth is estimated too and dropped: shrinkage towards equal
    worths that fades as ballots grow (Turner et al. 2020, Computational Statistics 35).

    The maximum is found by minorisation as in Hunter 2004 (Annals of Statistics 32), but along Newton's direction:
    there the third derivative is at most r times the second, r being the spread of the direction, so the step
    log(1 + r) / r always climbs, and becomes Newton's own. 50 ballots on 5 responses take 5 to 20 steps, where
    Hunter's updates take 20 when opinions are divided and 2,000 when they are one.

    Raises:
        ValueError: n is below 2, or the prior is not above 0.
    """
    _require_two(n)
    if not prior > 0:
        raise ValueError(f"the prior is {prior}: it must be above 0, or a response that always wins has no worth")
    wins, times, choices, valid = _choices(ballots, n, prior)
    worths = np.zeros(n + 1)
    for _ in range(MOST_STEPS):
        chances = choices * np.exp(worths - worths.max())
        chances /= chances.sum(axis=1, keepdims=True)
        expected = times @ chances
        information = np.diag(expected) - (chances.T * times) @ chances
        # The imagined response, last, stays at 0: only differences of log-worths are determined.
        direction = np.append(np.linalg.solve(information[:n, :n], (wins - expected)[:n]), 0.0)
        spread = np.ptp(direction)
        if spread < TOLERANCE:
            break
        worths += direction * (np.log1p(spread) / spread)
    centred = np.round(worths[:n] - worths[:n].mean(), DIGITS) + 0.0
    return _result(dict(enumerate(centred.tolist(), start=1)), valid)


def _choices(ballots: Iterable[Any], n: int, prior: float) -> tuple[Any, Any, Any, int]:
    """All the likelihood needs: wins (n + 1,), how often each set was chosen from (sets,), its members as 0 and 1
    (sets, n + 1), and the number of valid ballots. The last column is the imagined response."""
    imagined = 1 << n
    times = Counter({1 << number | imagined: 2 * prior for number in range(n)})
    wins = [prior] * n + [prior * n]
    valid = 0
    for ballot in _valid(ballots, n):
        valid += 1
        left = imagined - 1
        for number in ballot[:-1]:
            times[left] += 1
            wins[number - 1] += 1
            left ^= 1 << int(number) - 1
    members = [[left >> number & 1 for number in range(n + 1)] for left in times]
    return np.array(wins), np.array(list(times.values())), np.array(members, dtype=float), valid


# What an export may name. Each takes the ballots and the number of responses.
AGGREGATIONS: dict[str, Callable[[Iterable[Any], int], VotingResult]] = {
    "weighted_voting": lambda ballots, n: weighted_voting(ballots, symmetric_weights(n)),
    "borda": borda,
    "plackett_luce": plackett_luce,
}


def _valid(ballots: Iterable[Any], n: int) -> Iterator[Any]:
    numbers = list(range(1, n + 1))
    return (ballot for ballot in ballots if _is_permutation(ballot, numbers))


def _result(scores: dict[int, float], valid: int) -> VotingResult:
    return VotingResult(scores, sorted(scores, key=lambda number: -scores[number]), valid)


def _require_two(n: int) -> None:
    if n < 2:
        raise ValueError("a ranking needs two responses at least")


def _is_permutation(ballot: Any, numbers: list[int]) -> bool:
    try:
        return sorted(ballot) == numbers
    except TypeError:
        return False
