"""What a reward model's scores of held-out pairs tell: accuracy, calibration, and whether it goes by length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.accuracy import pair_accuracy
from training.pairs import PreferencePair

BINS = 10
CALIBRATION_NOTE = (
    "A pair has no first side, so the stated probability is that of the response that scored higher, in [0.5, 1]. "
    "The error grows with bins of few pairs, and is none of accuracy: scores that are all alike have an error of 0."
)

Text = tuple[str, str]


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with the scores of both responses, in logits. Shapes: (pairs,)"""

    pairs: Sequence[PreferencePair]
    chosen: np.ndarray
    rejected: np.ndarray

    @classmethod
    def of(cls, pairs: Sequence[PreferencePair], scores: Mapping[Text, float]) -> "ScoredPairs":
        chosen, rejected = ([scores[pair.texts[side]] for pair in pairs] for side in (0, 1))
        return cls(pairs, np.asarray(chosen, dtype=float), np.asarray(rejected, dtype=float))

    @property
    def difference(self) -> np.ndarray:
        difference: np.ndarray = self.chosen - self.rejected
        return difference

    def accuracy(self, among: np.ndarray | None = None) -> dict[str, Any]:
        """Share of the pairs in the right order, a tie counting half; `among` is a mask. Shape: (pairs,)"""
        kept = range(len(self.pairs)) if among is None else np.flatnonzero(among).tolist()
        correct = np.heaviside(self.difference, 0.5)
        ids = [self.pairs[place].prompt_ids for place in kept]
        return pair_accuracy(
            [float(correct[place]) for place in kept], [chosen for chosen, _ in ids], [rejected for _, rejected in ids]
        )


def reward_report(scored: ScoredPairs) -> dict[str, Any]:
    """Accuracy, calibration and length bias on held-out pairs, as JSON values."""
    return {
        "accuracy": scored.accuracy(),
        "calibration": calibration(scored),
        "length_bias": length_bias(scored),
    }


def calibration(scored: ScoredPairs) -> dict[str, Any]:
    """How far the share of pairs in the right order keeps to the probability that the scores state.

    Returns:
        `bins` of equal width that are not empty: low and high end, mean stated probability, observed accuracy as a
        statistic. `ece`: mean distance between the two, weighted by pairs (Guo et al. 2017). `brier`: mean squared
        distance of the probability of the true order from 1 (Brier 1950); 0.25 is what a coin gets.
    """
    if not scored.pairs:
        return {"bins": [], "ece": None, "brier": None, "n": 0, "reason": "there are no pairs", "note": ""}
    stated = _sigmoid(np.abs(scored.difference))
    edges = np.linspace(0.5, 1, BINS + 1)
    numbers = np.clip(np.digitize(stated, edges) - 1, 0, BINS - 1)
    bins: list[dict[str, Any]] = [
        {
            "from": round(float(edges[number]), 3),
            "to": round(float(edges[number + 1]), 3),
            "stated": float(stated[numbers == number].mean()),
            "observed": scored.accuracy(numbers == number),
        }
        for number in np.unique(numbers)
    ]
    gaps = [abs(one["observed"]["value"] - one["stated"]) * one["observed"]["n"] for one in bins]
    return {
        "bins": bins,
        "ece": sum(gaps) / len(scored.pairs),
        "brier": float(((1 - _sigmoid(scored.difference)) ** 2).mean()),
        "n": len(scored.pairs),
        "reason": None,
        "note": CALIBRATION_NOTE,
    }


def length_bias(scored: ScoredPairs) -> dict[str, Any]:
    """Accuracy where the shorter and where the longer response was preferred, lengths in characters.

    A model that goes by length is good at the one and poor at the other. `longer_wins` is what going by length alone
    would score, without the pairs of equal length.
    """
    gap = np.asarray([len(pair.chosen) - len(pair.rejected) for pair in scored.pairs], dtype=float)
    by_length = ScoredPairs(scored.pairs, gap, np.zeros_like(gap))
    return {
        "shorter_preferred": scored.accuracy(gap < 0),
        "longer_preferred": scored.accuracy(gap > 0),
        "longer_wins": by_length.accuracy(gap != 0),
    }


def _sigmoid(values: np.ndarray) -> np.ndarray:
    # Without overflow for large negative values, which exp(-x) has.
    smooth: np.ndarray = 0.5 * (1 + np.tanh(values / 2))
    return smooth
