import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as t_distribution

from evaluation.agreement import agreement
from evaluation.alternative_annotator import one_sided_ps
from evaluation.corrections import benjamini_yekutieli

VECTORS = {
    v["id"]: v for v in json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]
}


def test_the_published_test_of_gpt_4o_on_mt_bench_from_its_counts_of_wins():
    """The labels have no licence, but all that the test needs is how often rater and judge did better alone."""
    vector = VECTORS["alttest_mtbench_gpt-4o"]
    expected = vector["expected"]["per_annotator"]
    gaps = np.full((len(expected), max(row["n"] for row in expected.values())), np.nan)
    for own, row in zip(gaps, expected.values(), strict=True):
        rater_alone, judge_alone = (round(row["n"] * (1 - row[rho])) for rho in ("rho_f", "rho_h"))
        own[: row["n"]] = 0
        own[:rater_alone], own[rater_alone : rater_alone + judge_alone] = 1, -1
    n, ps = one_sided_ps(gaps, vector["inputs"]["epsilon"])
    assert n.tolist() == [row["n"] for row in expected.values()]
    assert ps == pytest.approx([row["p"] for row in expected.values()], rel=1e-9)
    rejected = [p <= vector["inputs"]["alpha"] for p in benjamini_yekutieli(ps.tolist())]
    assert rejected == [row["reject"] for row in expected.values()]
    assert np.mean(rejected) == vector["expected"]["winning_rate"]


def frame_of(people, judge):
    """Labels of people, a string a rater, and of the judge."""
    rows = [
        (item, rater, "c", label, kind)
        for rater, labels, kind in [
            *((f"R{n}", own, "human") for n, own in enumerate(people, 1)),
            ("J", judge, "judge"),
        ]
        for item, label in enumerate(labels)
    ]
    return pd.DataFrame(rows, columns=["item", "rater", "criterion", "label", "rater_kind"])


def test_a_case_that_can_be_counted_by_hand():
    # R1 and R2 say A always; R3 says B on 4 of 40 items; the judge says B on 8 others. Against R1's others (R2 and R3)
    # the judge matches fewer on its 8, as many elsewhere, and never more; against R3's it is better on R3's 4.
    people = ["A" * 40, "A" * 40, "B" * 4 + "A" * 36]
    found = agreement(frame_of(people, "A" * 32 + "B" * 8), bootstrap=0)["pooled"]["judges"]["J"]["alt_test"]
    rows = found["raters"]
    assert [rows[name]["rho_judge"] for name in ("R1", "R2", "R3")] == [0.8, 0.8, 0.8]
    assert [rows[name]["rho_rater"] for name in ("R1", "R2", "R3")] == [1, 1, 0.9]
    # Mean gaps are 0.2, 0.2 and 0.1; with epsilon 0.2 the first two are at the border, so p is one half.
    assert [rows[name]["p"] for name in ("R1", "R2")] == pytest.approx([0.5, 0.5])
    # R3's 8 gaps of 1 and 4 of -1: variance (12 - 40 x 0.01) / 39, so t = -0.1 / sqrt(0.29744 / 40) = -1.1597.
    assert rows["R3"]["p"] == pytest.approx(t_distribution.cdf(-0.1 / np.sqrt(11.6 / 39 / 40), 39))
    assert rows["R3"]["p_adjusted"] == pytest.approx(rows["R3"]["p"] * 3 * (1 + 1 / 2 + 1 / 3))
    assert found["winning_rate"]["value"] == 0
    assert found["advantage_probability"]["value"] == pytest.approx(0.8)
    assert found["passes"] is False


def test_a_stricter_and_a_laxer_epsilon_change_what_passes():
    people = ["A" * 60, "A" * 60, "A" * 60]
    frame = frame_of(people, "A" * 57 + "B" * 3)
    lax = agreement(frame, bootstrap=0, epsilon=0.2)["pooled"]["judges"]["J"]["alt_test"]
    strict = agreement(frame, bootstrap=0, epsilon=0.05)["pooled"]["judges"]["J"]["alt_test"]
    assert (lax["passes"], strict["passes"]) == (True, False)
    assert lax["advantage_probability"] == strict["advantage_probability"]
