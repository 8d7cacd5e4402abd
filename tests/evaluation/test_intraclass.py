import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.intraclass import FORMS, intraclass_correlations

VECTORS = {
    v["id"]: v for v in json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]
}


def test_shrout_and_fleiss_own_example():
    vector = VECTORS["icc_shrout_fleiss"]
    found = intraclass_correlations(vector["inputs"]["ratings_subject_by_judge"], draws=200)
    assert {name: found[name].value for name in FORMS} == pytest.approx(vector["expected"], abs=1e-12)
    for statistic in found.values():
        assert statistic.n == 6
        assert statistic.low < statistic.value < statistic.high


def test_raters_who_say_the_same_correlate_fully_and_a_rater_who_adds_a_constant_counts_in_form_2():
    same = np.repeat(np.arange(1.0, 9)[:, None], 3, axis=1)
    assert [s.value for s in intraclass_correlations(same, draws=0).values()] == pytest.approx([1] * 6)
    shifted = intraclass_correlations(same + np.array([0, 2, 4]), draws=0)
    assert shifted["icc3_1"].value == pytest.approx(1)
    assert shifted["icc2_1"].value < 0.7


def test_what_cannot_be_told_says_why_and_incomplete_subjects_are_left_out():
    assert "do not differ" in intraclass_correlations(np.ones((5, 3)), draws=0)["icc2_1"].reason
    assert "fewer than two" in intraclass_correlations([[1, 2], [np.nan, 3]], draws=0)["icc2_1"].reason
    whole = [[9, 2, 5], [6, 1, 3], [8, 4, 6], [7, 1, 2]]
    holed = [*whole, [1, np.nan, 2]]
    assert intraclass_correlations(holed, draws=0) == intraclass_correlations(whole, draws=0)
    with pytest.raises(ValueError, match="two raters"):
        intraclass_correlations([[1], [2]])
