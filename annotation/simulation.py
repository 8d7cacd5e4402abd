"""Made-up participants who rank responses by stated qualities. They stand in for people to try out the software;
nothing they say is evidence of anything."""

import numpy as np
import numpy.typing as npt

# A response one point better on a criterion is preferred by an average reader with odds of about e^(1 / 0.6), 5 to 1.
TEMPERATURE = 0.6
READING_NOISE = 0.5
SENSITIVITY_SPREAD = 0.3


def noisy_utilities(
    qualities: npt.ArrayLike, n_raters: int, seed: int, *, temperature: float = TEMPERATURE
) -> npt.NDArray[np.float64]:
    """How each rater values each response on each criterion. Shape: (n_raters, n_responses, n_criteria)

    A rater has a sensitivity to each criterion (log-normal, median 1), kept over all responses, and misreads each
    response by normal noise of 0.5 points. Gumbel noise of the given temperature makes the order of the
    utilities a draw from Plackett-Luce.

    Args:
        qualities: points from 1 to 5. Shape: (n_responses, n_criteria)
        temperature: in points of quality, > 0; higher is closer to chance.

    Raises:
        ValueError: a shape or the temperature is out of range.
    """
    points = np.asarray(qualities, dtype=np.float64)
    if points.ndim != 2 or points.size == 0 or n_raters < 1:
        raise ValueError("qualities must be a table of responses by criteria, and there must be a rater")
    if temperature <= 0:
        raise ValueError("temperature must be above 0")
    rng = np.random.default_rng(seed)
    shape = (n_raters, *points.shape)
    sensitivity = rng.lognormal(0, SENSITIVITY_SPREAD, (n_raters, 1, points.shape[1]))
    reading = sensitivity * (points + rng.normal(0, READING_NOISE, shape))
    return np.asarray(reading / temperature + rng.gumbel(size=shape))


def ranks(utilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rank of each response, 1 for the highest utility. Shapes: (..., n_responses, n_criteria), the same"""
    order = np.argsort(-utilities, axis=-2, kind="stable")
    return np.asarray(np.argsort(order, axis=-2, kind="stable") + 1)


def simulate_rankings(
    qualities: npt.ArrayLike, n_raters: int, seed: int, *, temperature: float = TEMPERATURE
) -> npt.NDArray[np.int64]:
    """Each rater's rank of each response on each criterion, 1 for best. Shape: (n_raters, n_responses, n_criteria)

    See `noisy_utilities` for the arguments and errors.
    """
    return ranks(noisy_utilities(qualities, n_raters, seed, temperature=temperature))
