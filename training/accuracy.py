"""Accuracy over preference pairs, with an interval that knows that pairs that share a prompt are not independent."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Z95 = 1.959963984540054


def pair_accuracy(
    correct: Sequence[float], prompt_ids: Sequence[str], rejected_prompt_ids: Sequence[str] | None = None
) -> dict[str, Any]:
    """Share of pairs in the right order as a statistic: value, low, high, n (pairs), reason; and `prompts`.

    Args:
        correct: 1 for a pair in the right order, 0.5 for a tie, 0 otherwise. Shape: (pairs,)
        prompt_ids: the prompt that the chosen response answers. Shape: (pairs,)
        rejected_prompt_ids: that of the rejected response, the same unless given. Shape: (pairs,)

    Returns:
        A Wilson interval at 95 % on the effective number of pairs: pairs / design effect, the effect taken from the
        variance between prompts (Rao & Scott 1992; across prompts, Aronow, Samii & Assenova 2015). Where all or none
        are right the variance tells nothing, and a prompt counts once.
    """
    values = np.asarray(correct, dtype=float)
    if not (n := len(values)):
        return {"value": None, "low": None, "high": None, "n": 0, "reason": "there are no such pairs", "prompts": 0}
    sides = np.asarray([prompt_ids, prompt_ids if rejected_prompt_ids is None else rejected_prompt_ids])
    names, clusters = np.unique(sides, return_inverse=True)
    clusters = clusters.reshape(2, n)
    share = float(values.mean())
    low, high = wilson_interval(share, effective_size(values, clusters))
    return {"value": share, "low": low, "high": high, "n": n, "reason": None, "prompts": len(names)}


def effective_size(values: np.ndarray, clusters: np.ndarray) -> float:
    """Independent pairs that would tell as much as these: at least 1, at most all.

    Args:
        values: Shape: (pairs,)
        clusters: numbers of the two prompts of each pair, the same number twice within a prompt. Shape: (2, pairs)
    """
    n, share = len(values), values.mean()
    if share in {0.0, 1.0}:
        return _disjoint_pairs(clusters)
    if (count := clusters.max() + 1) == 1:
        return 1.0
    variance = count / (count - 1) * _dyadic_sum(values - share, clusters) / n**2
    return float(min(n, max(share * (1 - share) / variance, 1))) if variance > 0 else float(n)


def _dyadic_sum(residuals: np.ndarray, clusters: np.ndarray) -> float:
    """Sum of e_i e_j over all i, j whose pairs have a prompt in common."""
    across = clusters[0] != clusters[1]
    of_prompt = np.bincount(clusters[0], residuals, clusters.max() + 1)
    of_prompt += np.bincount(clusters[1][across], residuals[across], clusters.max() + 1)
    # Pairs of the same two prompts were counted under each of them.
    low, high = np.sort(clusters[:, across], axis=0)
    _, both = np.unique(low * (clusters.max() + 1) + high, return_inverse=True)
    return float((of_prompt**2).sum() - (np.bincount(both, residuals[across]) ** 2).sum())


def _disjoint_pairs(clusters: np.ndarray) -> float:
    """How many pairs without a prompt in common there can be, at most."""
    prompts_a_pair = 1 + (clusters[0] != clusters[1]).mean()
    chosen, rejected = (len(np.unique(side)) for side in clusters)
    return float(min(chosen, rejected, (clusters.max() + 1) / prompts_a_pair))


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval at 95 % (Wilson 1927)."""
    centre = share + Z95**2 / (2 * n)
    spread = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)
