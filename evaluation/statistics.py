"""A statistic as every report and every --json gives it: value, interval, n, and why where it is undefined."""

import math
from dataclasses import dataclass
from typing import Any

# 0.975 quantile of the standard normal distribution: all intervals are of 95 %.
Z = 1.959963984540054


@dataclass(frozen=True)
class Statistic:
    """An estimate with its 95 % interval. An undefined value is None, never NaN, and goes with the reason.

    Raises:
        ValueError: a number is not finite, or there is neither value nor reason.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def __post_init__(self) -> None:
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a statistic holds finite numbers or None, not {number}")
        if self.value is None and not self.reason:
            raise ValueError("a statistic without a value needs the reason")

    def __str__(self) -> str:
        """As it is printed: 0.63 [0.51, 0.74]; the reason where there is no value."""
        if self.value is None:
            return f"undefined: {self.reason}"
        interval = "" if self.low is None or self.high is None else f" [{self.low:z.2f}, {self.high:z.2f}]"
        return f"{self.value:z.2f}{interval}"

    def as_dict(self) -> dict[str, Any]:
        # Not dataclasses.asdict: it copies each value, and a report has thousands of them.
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "reason": self.reason}


def undefined(reason: str, n: int = 0) -> Statistic:
    return Statistic(None, None, None, n, reason)


def wilson(successes: int, n: int) -> Statistic:
    """Share of successes with its Wilson score interval (Wilson 1927).

    Raises:
        ValueError: not 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} cannot be")
    if n == 0:
        return undefined("there is nothing to count")
    share = successes / n
    return Statistic(share, *score_interval(share, n), n)


def score_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of n >= 1, which need not be a whole number of successes."""
    spread = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    centre, scale = share + Z**2 / (2 * n), 1 + Z**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
