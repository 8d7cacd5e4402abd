"""p-values corrected for how many tests were made; a test without p (None) takes no part."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import false_discovery_control

from evaluation.bootstrap import FloatArray

HOLM = "Holm"
BENJAMINI_YEKUTIELI = "Benjamini-Yekutieli"


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted by Holm (1979): the chance of any false rejection among them stays at the level."""
    return adjusted(ps, step_down)


def benjamini_yekutieli(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted by Benjamini and Yekutieli (2001): the expected share of false rejections stays at the level, whatever
    the dependence of the tests."""
    return adjusted(ps, lambda given: false_discovery_control(given, method="by"))


def adjusted(ps: Sequence[float | None], method: Callable[[FloatArray], FloatArray]) -> list[float | None]:
    given = np.array([p for p in ps if p is not None], dtype=np.float64)
    results = iter(method(given).tolist() if given.size else [])
    return [None if p is None else next(results) for p in ps]


def step_down(ps: FloatArray) -> FloatArray:
    """Holm, which scipy has not, and for which statsmodels takes milliseconds where a report asks many times."""
    order = np.argsort(ps)
    scaled = np.minimum(1.0, ps[order] * np.arange(len(ps), 0, -1))
    result = np.empty_like(ps)
    result[order] = np.maximum.accumulate(scaled)
    return result
