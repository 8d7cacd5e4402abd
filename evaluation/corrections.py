"""p-values corrected for how many tests were made; a test without p (None) takes no part.

scipy has not Holm, and for both it or statsmodels take milliseconds where a report asks many times.
"""

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.bootstrap import FloatArray

HOLM = "Holm"
BENJAMINI_YEKUTIELI = "Benjamini-Yekutieli"


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted by Holm (1979): the chance of any false rejection among them stays at the level."""
    return adjusted(ps, step_down)


def benjamini_yekutieli(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted by Benjamini and Yekutieli (2001): the expected share of false rejections stays at the level, whatever
    the dependence of the tests."""
    return adjusted(ps, step_up)


def adjusted(ps: Sequence[float | None], method: Callable[[FloatArray], FloatArray]) -> list[float | None]:
    given = np.array([p for p in ps if p is not None], dtype=np.float64)
    results = iter(method(given).tolist() if given.size else [])
    return [None if p is None else next(results) for p in ps]


def step_up(ps: FloatArray) -> FloatArray:
    """Benjamini and Yekutieli."""
    order = np.argsort(ps)[::-1]
    ranks = np.arange(len(ps), 0, -1)
    scaled = ps[order] * len(ps) * (1 / ranks).sum() / ranks
    result = np.empty_like(ps)
    result[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return result


def step_down(ps: FloatArray) -> FloatArray:
    """Holm."""
    order = np.argsort(ps)
    scaled = np.minimum(1.0, ps[order] * np.arange(len(ps), 0, -1))
    result = np.empty_like(ps)
    result[order] = np.maximum.accumulate(scaled)
    return result
