"""Intraclass correlations of ratings on a scale (Shrout and Fleiss 1979)."""

import numpy as np
import numpy.typing as npt

from evaluation.bootstrap import FloatArray, Part, ratio, resampled
from evaluation.statistics import Statistic

FORMS = ("icc1_1", "icc2_1", "icc3_1", "icc1_k", "icc2_k", "icc3_k")
ONE_VALUE = "the subjects do not differ, so there is nothing to tell apart"


def intraclass_correlations(ratings: npt.ArrayLike, *, draws: int = 2000, seed: int = 0) -> dict[str, Statistic]:
    """The six forms: each subject with raters of its own (1), all with the same raters as a sample (2) or as the only
    ones of interest (3); of one rating (_1) or of the mean of all (_k). The interval is a bootstrap over subjects.

    Args:
        ratings: NaN for none; subjects that not everyone rated are left out. Shape: (subjects, raters)

    Raises:
        ValueError: there are fewer than two raters.
    """
    ratings = np.asarray(ratings, np.float64)
    if ratings.ndim != 2 or ratings.shape[1] < 2:
        raise ValueError("intraclass correlation needs two raters or more")
    complete = ratings[~np.isnan(ratings).any(axis=1)]
    # Only differences count; around 0 the sums of squares lose no digits.
    complete = complete - (complete.mean() if complete.size else 0.0)
    features = np.vstack([np.ones(len(complete)), complete.T, (complete**2).sum(axis=1), complete.sum(axis=1) ** 2])
    n, raters = len(complete), complete.shape[1]
    reason = ONE_VALUE if n > 1 else "fewer than two subjects were rated by everyone"
    part = Part(
        features=features,
        compute=lambda sums: forms(sums, raters),
        paths=[(name,) for name in FORMS],
        n=[n] * len(FORMS),
        reasons=[reason] * len(FORMS),
    )
    return {path[0]: statistic for path, statistic in resampled([part], items=n, draws=draws, seed=seed)}


def forms(sums: FloatArray, k: int) -> list[FloatArray]:
    """From sums over subjects of 1, each rater's rating, squared ratings, squared totals. Shape: (k + 3, resamples)"""
    n, of_raters, squares, totals = sums[0], sums[1 : k + 1], sums[k + 1], sums[k + 2]
    centre = of_raters.sum(axis=0) ** 2 / np.maximum(n * k, 1)
    between, judges = totals / k - centre, (of_raters**2).sum(axis=0) / np.maximum(n, 1) - centre
    within = squares - totals / k
    ms_between = ratio(between, np.maximum(n - 1, 0))
    ms_within = ratio(within, n * (k - 1))
    ms_judges = judges / (k - 1)
    ms_error = ratio(within - judges, np.maximum(n - 1, 0) * (k - 1))
    shift = k * ratio(ms_judges - ms_error, n)
    # Rounding must not turn a difference of nothing into a correlation.
    ms_between = np.where(between > 1e-12 * np.maximum(squares, 1e-300), ms_between, np.nan)
    return [
        ratio(ms_between - ms_within, ms_between + (k - 1) * ms_within),
        ratio(ms_between - ms_error, ms_between + (k - 1) * ms_error + shift),
        ratio(ms_between - ms_error, ms_between + (k - 1) * ms_error),
        ratio(ms_between - ms_within, ms_between),
        ratio(ms_between - ms_error, ms_between + shift / k),
        ratio(ms_between - ms_error, ms_between),
    ]
