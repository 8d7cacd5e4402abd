"""Do two raters of the same items lean alike? Tests of their square table: McNemar, Bowker, Stuart-Maxwell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, chdtrc

from evaluation.bootstrap import FloatArray, IntArray, ratio
from evaluation.ratings import TIE, Ratings

# Bounds the memory where many raters share a file.
PAIRS_AT_ONCE = 32
TESTS = "mcnemar", "bowker", "stuart_maxwell"
SAME = "the two never disagree"
NOT_TWO_SIDES = "it compares two sides, and the labels are not two, with or without a tie"


@dataclass(frozen=True)
class McNemar:
    """Tests that two counts of discordant pairs are alike (McNemar 1947). `exact_p` is the one to report.

    Attributes:
        exact_p: two-sided binomial test. mid_p: with half the probability of the outcome itself (Fagerland 2013).
        chi2, chi2_p: large-sample test without, chi2_corrected, chi2_corrected_p: with Edwards' continuity correction.
        z: its signed root without correction, None where nothing is discordant.
    """

    exact_p: float
    mid_p: float
    chi2: float
    chi2_p: float
    chi2_corrected: float
    chi2_corrected_p: float
    z: float | None


def mcnemar(first: int, second: int) -> McNemar:
    """Of the two discordant cells. All p are 1 where both are 0.

    Raises:
        ValueError: a count is negative.
    """
    if min(first, second) < 0:
        raise ValueError(f"discordant counts are 0 or more, not {first} and {second}")
    n, gap = first + second, abs(first - second)
    exact = float(exact_mcnemar(np.array(first), np.array(second)))
    here = bdtr(min(first, second), n, 0.5) - (bdtr(min(first, second) - 1, n, 0.5) if min(first, second) else 0)
    chi2, corrected = (gap**2 / n, max(gap - 1, 0) ** 2 / n) if n else (0.0, 0.0)
    return McNemar(
        exact_p=exact,
        mid_p=float(min(1.0, 2 * bdtr(min(first, second), n, 0.5) - here)) if n else 1.0,
        chi2=chi2,
        chi2_p=float(chdtrc(1, chi2)),
        chi2_corrected=corrected,
        chi2_corrected_p=float(chdtrc(1, corrected)),
        z=(first - second) / n**0.5 if n else None,
    )


def exact_mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Two-sided p of many pairs of discordant counts at once, 1 where both are 0."""
    first, second = np.asarray(first, np.int64), np.asarray(second, np.int64)
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(first, second), first + second, 0.5)))


def tables_of(first: IntArray, second: IntArray, categories: int) -> IntArray:
    """Square tables, first raters in rows, of codes with -1 for none. Shape: (pairs, units) twice -> (pairs, C, C)"""
    pair, unit = np.nonzero((first >= 0) & (second >= 0))
    cells = (pair * categories + first[pair, unit]) * categories + second[pair, unit]
    size = len(first) * categories**2
    return np.bincount(cells, minlength=size).reshape(len(first), categories, categories)


def tables_of_pairs(ratings: Ratings) -> dict[str, IntArray]:
    """The table of each pair of raters, named R1|R2."""
    pairs = list(combinations(range(len(ratings.raters)), 2))
    names = [f"{ratings.raters[a]}|{ratings.raters[b]}" for a, b in pairs]
    found: dict[str, IntArray] = {}
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        first, second = (ratings.codes[places] for places in np.transpose(pairs[start : start + PAIRS_AT_ONCE]))
        tables = tables_of(first, second, len(ratings.categories))
        found |= zip(names[start : start + PAIRS_AT_ONCE], tables, strict=True)
    return found


def correct(found: Sequence[dict[str, Any]], method: Callable[[Sequence[float | None]], list[float | None]]) -> None:
    """Gives each test its `p_adjusted`, each kind of test being a family."""
    for name in TESTS:
        adjusted = method([tests[name]["p"] for tests in found])
        for tests, p in zip(found, adjusted, strict=True):
            tests[name]["p_adjusted"] = p


def symmetry(tables: IntArray, categories: Sequence[str]) -> list[dict[str, Any]]:
    """The tests of each table as plain values: n, mcnemar, bowker, stuart_maxwell, each with p, or None and a reason.

    McNemar's is exact and of the two sides alone (A named against B, without ties). Bowker's test (1948) of symmetry
    has a degree of freedom for each two categories that were confused at all, since the others add nothing to it;
    Stuart and Maxwell's (1955, 1970) of equal margins one for each category but one. Neither has a continuity
    correction, and both are large-sample tests.

    Args:
        tables: shape (pairs, categories, categories)
        categories: their names. McNemar's test is undefined where they are not two, or two and a tie.
    """
    sides = [place for place, name in enumerate(categories) if name != TIE]
    n = tables.sum(axis=(1, 2)).tolist()
    rows = zip(n, mcnemars(tables, sides), bowker(tables), stuart_maxwell(tables), strict=True)
    return [{"n": n, "mcnemar": first, "bowker": second, "stuart_maxwell": third} for n, first, second, third in rows]


def mcnemars(tables: IntArray, sides: Sequence[int]) -> list[dict[str, Any]]:
    if len(sides) != 2:
        return [{"discordant": None, "p": None, "reason": NOT_TWO_SIDES} for _ in tables]
    first, second = tables[:, sides[0], sides[1]], tables[:, sides[1], sides[0]]
    found = zip(first.tolist(), second.tolist(), exact_mcnemar(first, second).tolist(), strict=True)
    return [{"discordant": [a, b], "p": p, "reason": None} for a, b, p in found]


def bowker(tables: IntArray) -> list[dict[str, Any]]:
    turned = tables.transpose(0, 2, 1)
    chi2 = ratio((tables - turned).astype(np.float64) ** 2, (tables + turned).astype(np.float64))
    confused = (np.triu(tables + turned, 1) > 0).sum(axis=(1, 2))
    return chi2_tests(np.nansum(chi2, axis=(1, 2)) / 2, confused, disagreeing(tables))


def stuart_maxwell(tables: IntArray) -> list[dict[str, Any]]:
    """With a generalised inverse and the rank as degrees of freedom, so that unused categories do no harm."""
    first, second = tables.sum(axis=2), tables.sum(axis=1)
    gap = (first - second).astype(np.float64)
    spread = -(tables + tables.transpose(0, 2, 1)).astype(np.float64)
    diagonal = np.arange(tables.shape[1])
    spread[:, diagonal, diagonal] += first + second
    # Eigenvalues of 0 belong to unused categories, and one to the sum of all gaps, which is 0.
    values, vectors = np.linalg.eigh(spread)
    kept = values > len(gap[0]) * np.finfo(np.float64).eps * values[:, -1:]
    along = np.einsum("pij,pi->pj", vectors, gap)
    chi2 = np.where(kept, along**2 / np.where(kept, values, 1.0), 0.0).sum(axis=1)
    return chi2_tests(chi2, kept.sum(axis=1), disagreeing(tables))


def disagreeing(tables: IntArray) -> IntArray:
    return np.asarray(tables.sum(axis=(1, 2)) - np.trace(tables, axis1=1, axis2=2))


def chi2_tests(chi2: FloatArray, df: IntArray, disagreements: IntArray) -> list[dict[str, Any]]:
    ps = chdtrc(np.maximum(df, 1), np.maximum(chi2, 0))
    return [
        {"chi2": chi2, "df": df, "p": p, "reason": None}
        if differ
        else {"chi2": None, "df": None, "p": None, "reason": SAME}
        for chi2, df, p, differ in zip(chi2.tolist(), df.tolist(), ps.tolist(), disagreements.tolist(), strict=True)
    ]
