import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, chi2
from statsmodels.stats.contingency_tables import SquareTable

from evaluation.symmetry import exact_mcnemar, mcnemar, symmetry, tables_of

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]
CATEGORIES = ("A", "B", "tie")

tables = arrays(np.int64, (3, 3), elements=st.integers(0, 25))


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["statistic"] == "mcnemar"], ids=lambda v: v["id"])
def test_mcnemar_equals_the_published_vectors(vector):
    (_, first), (second, _) = vector["inputs"]["table"]
    found = mcnemar(first, second)
    values = {**found.__dict__, "z0": found.z}
    for name, expected in vector["expected"].items():
        assert values[name] == pytest.approx(expected, rel=1e-9), name


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_exact_test_is_the_binomial_one(first, second):
    assume(first + second)
    assert exact_mcnemar(first, second) == pytest.approx(binomtest(first, first + second).pvalue, rel=1e-9)


def test_nothing_discordant_gives_no_reason_to_doubt():
    found = mcnemar(0, 0)
    assert found.exact_p == found.mid_p == found.chi2_p == 1
    assert found.z is None
    with pytest.raises(ValueError, match="0 or more"):
        mcnemar(-1, 2)


@given(tables)
@settings(max_examples=100, deadline=None)
def test_bowker_and_stuart_maxwell_equal_statsmodels(table):
    # statsmodels needs every category in use and a covariance that can be inverted, and takes all pairs for confused.
    disagreements = table + table.T - 2 * np.diag(np.diag(table))
    assume((table.sum(axis=0) > 0).all() and (table.sum(axis=1) > 0).all())
    assume((disagreements > 0).sum() >= 4)
    found = symmetry(table[None], CATEGORIES)[0]
    reference = SquareTable(table, shift_zeros=False)
    bowker, stuart = reference.symmetry(), reference.homogeneity()
    confused = int((disagreements > 0).sum()) // 2
    assert (found["bowker"]["chi2"], found["bowker"]["df"]) == (pytest.approx(bowker.statistic, abs=1e-9), confused)
    assert found["bowker"]["p"] == pytest.approx(chi2.sf(bowker.statistic, confused), abs=1e-9)
    if confused == bowker.df:
        assert found["bowker"]["p"] == pytest.approx(bowker.pvalue, abs=1e-9)
    assert (found["stuart_maxwell"]["chi2"], found["stuart_maxwell"]["df"]) == pytest.approx(
        (stuart.statistic, stuart.df), abs=1e-7
    )
    assert found["mcnemar"]["p"] == pytest.approx(float(exact_mcnemar(table[0, 1], table[1, 0])))


@given(tables)
@settings(max_examples=60, deadline=None)
def test_turning_a_table_or_naming_its_categories_anew_changes_no_p(table):
    order = [2, 0, 1]
    plain, turned = symmetry(np.array([table, table.T]), CATEGORIES)
    renamed = symmetry(table[np.ix_(order, order)][None], tuple(CATEGORIES[n] for n in order))[0]
    for test in ("mcnemar", "bowker", "stuart_maxwell"):
        assert turned[test]["p"] == pytest.approx(plain[test]["p"], abs=1e-9)
        assert renamed[test]["p"] == pytest.approx(plain[test]["p"], abs=1e-9)


def test_two_categories_that_nobody_confused_cost_bowkers_test_nothing():
    table = np.array([[30, 0, 10], [0, 2, 0], [0, 0, 30]])
    bowker = symmetry(table[None], CATEGORIES)[0]["bowker"]
    assert (bowker["chi2"], bowker["df"]) == (10, 1)
    assert bowker["p"] == pytest.approx(0.0015654, abs=1e-7)


def test_a_category_that_nobody_used_takes_no_part():
    with_ties = np.array([[10, 7, 0], [2, 20, 0], [0, 0, 0]])
    found = symmetry(with_ties[None], CATEGORIES)[0]
    assert [found[test]["chi2"] for test in ("bowker", "stuart_maxwell")] == pytest.approx([25 / 9] * 2)
    assert found["bowker"]["df"] == found["stuart_maxwell"]["df"] == 1


def test_tests_that_cannot_be_made_say_why():
    same, other = symmetry(np.array([np.diag([4, 5, 6]), [[1, 2, 0], [0, 1, 0], [1, 1, 1]]]), ("x", "y", "z"))
    assert "never disagree" in same["bowker"]["reason"]
    assert same["stuart_maxwell"]["p"] is None
    assert "two sides" in other["mcnemar"]["reason"]


def test_tables_count_what_both_rated():
    first, second = np.array([[0, 1, 2, -1]]), np.array([[0, 2, -1, 1]])
    assert tables_of(first, second, 3)[0].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
