"""Accuracy over preference pairs, with an interval that knows that pairs of one prompt are not independent."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Z95 = 1.959963984540054


def pair_accuracy(correct: Sequence[float], prompt_ids: Sequence[str]) -> dict[str, Any]:
    """Share of pairs in the right order as a statistic: value, low, high, n (pairs), reason; and `prompts`.

    Args:
        correct: 1 for a pair in the right order, 0.5 for a tie, 0 otherwise. Shape: (pairs,)
        prompt_ids: the prompt of each pair. Shape: (pairs,)

    Returns:
        A Wilson interval at 95 % on the effective number of pairs: pairs / design effect, the effect taken from the
        spread between prompts (Rao & Scott 1992). Where all or none are right the spread tells nothing, and a prompt
        counts as one pair.
    """
    values, prompts = np.asarray(correct, dtype=float), np.asarray(prompt_ids)
    n, clusters = len(values), len(np.unique(prompts))
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0, "reason": "no pairs were held out", "prompts": 0}
    share = float(values.mean())
    low, high = wilson_interval(share, effective_size(values, prompts))
    return {"value": share, "low": low, "high": high, "n": n, "reason": None, "prompts": clusters}


def effective_size(values: np.ndarray, prompts: np.ndarray) -> float:
    """Independent pairs that would tell as much as these. Between the number of prompts' one and that of pairs."""
    n, share = len(values), values.mean()
    _, cluster = np.unique(prompts, return_inverse=True)
    clusters = cluster.max() + 1
    if clusters == 1 or share in {0.0, 1.0}:
        return float(clusters)
    residuals = np.bincount(cluster, values) - share * np.bincount(cluster)  # (clusters,)
    variance = clusters / (clusters - 1) * (residuals**2).sum() / n**2
    return float(min(n, max(share * (1 - share) / variance, 1))) if variance else float(n)


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval at 95 % (Wilson 1927)."""
    centre = share + Z95**2 / (2 * n)
    spread = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)
