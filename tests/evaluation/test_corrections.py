import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evaluation.corrections import benjamini_yekutieli, holm

VECTORS = {
    v["id"]: v for v in json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]
}


def test_benjamini_yekutieli_of_the_reference_vector():
    vector = VECTORS["by_fdr_1"]
    found = benjamini_yekutieli(vector["inputs"]["p_values"])
    assert found == pytest.approx(vector["expected"]["adjusted_p"], rel=1e-12)
    assert [p <= vector["inputs"]["alpha"] for p in found] == vector["expected"]["reject"]


# statsmodels collects all garbage on each call, which takes a second where much was imported.
@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_both_equal_statsmodels(ps):
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]), abs=1e-12)
    assert benjamini_yekutieli(ps) == pytest.approx(list(multipletests(ps, method="fdr_by")[1]), abs=1e-12)


def test_a_test_without_p_takes_no_part():
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]
    assert holm([None]) == [None]
    assert benjamini_yekutieli([]) == []
