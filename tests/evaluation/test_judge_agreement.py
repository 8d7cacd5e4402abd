"""What agreement says with ties kept and dropped, of each rater against the others, and of judges beside them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from evaluation.agreement import agreement
from tests.evaluation.test_agreement import drawn, frame_of, with_judge

A, TIE, B = 0, 1, 2


def pooled(frame, **options):
    return agreement(frame, **{"bootstrap": 0, **options})["pooled"]


def test_pairs_of_votes_without_ties_are_those_in_which_both_chose_a_side():
    found = pooled(frame_of([[A, A, B], [B, TIE, TIE], [A, B, TIE], [A, A, A]]))
    # Agreeing pairs 1 of 3, none, 0 of 1, 3 of 3: of all pairs 4 of 7, as a mean over items (1/3 + 0 + 1) / 3.
    assert found["pairwise_agreement_without_ties"]["value"] == pytest.approx(4 / 7)
    assert found["percent_agreement_without_ties"]["value"] == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert found["pairwise_agreement_without_ties"]["n"] == 3


def test_a_judge_and_the_raters_without_ties_are_counted_where_both_chose_a_side():
    matrix = [[A, A, B], [B, TIE, TIE], [A, B, -1], [A, A, A]]
    found = pooled(with_judge(matrix, [A, B, A, TIE]))["judges"]["J1"]
    assert found["agreement_with_raters_pairwise"]["value"] == pytest.approx((2 + 1 + 1 + 0) / 11)
    assert found["agreement_with_raters_pairwise_without_ties"]["value"] == pytest.approx((2 + 1 + 1) / (3 + 1 + 2))
    assert found["agreement_with_raters_without_ties"]["value"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert found["agreement_with_raters_without_ties"]["n"] == 3
    assert found["agreement_with_raters"]["n"] == 4
    # Majorities: A, tie, none, A; the judge says A, B, A, tie.
    assert found["agreement_with_majority"]["value"] == pytest.approx(1 / 3)
    assert found["agreement_with_majority_without_ties"]["value"] == 1
    assert found["agreement_with_majority_without_ties"]["n"] == 1
    assert found["confusion_with_majority"] == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_the_judges_kappas_are_those_of_scikit_learn():
    matrix, judged = drawn(raters=3, missing=0.1), drawn(raters=1, seed=3)[:, 0]
    found = pooled(with_judge(matrix, judged))["judges"]["J1"]
    for column in range(3):
        both = matrix[:, column] >= 0
        expected = cohen_kappa_score(judged[both], matrix[both, column])
        assert found["cohen_kappa"][f"R{column + 1}"]["value"] == pytest.approx(expected)
        assert found["cohen_kappa"][f"R{column + 1}"]["n"] == both.sum()
    counts = (matrix[:, :, None] == np.arange(3)).sum(axis=1)
    single = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
    expected = cohen_kappa_score(judged[single], counts.argmax(axis=1)[single])
    assert found["kappa_with_majority"]["value"] == pytest.approx(expected)


def test_each_rater_is_held_against_the_majority_of_the_others():
    # R1's others agree on items 1 to 3, where it hits twice; R3's on items 1, 3, 4, where it hits once.
    found = pooled(frame_of([[A, A, A], [A, A, A], [A, B, B], [B, B, A]]))["leave_one_out"]
    assert found["raters"]["R1"]["value"] == pytest.approx(2 / 3)
    assert found["raters"]["R1"]["n"] == 3
    assert found["raters"]["R3"]["value"] == pytest.approx(2 / 3)
    assert found["raters"]["R2"]["value"] == 1
    assert found["all"]["value"] == pytest.approx((2 + 2 + 2) / (3 + 2 + 3))


def test_the_judge_stands_beside_each_rater_on_the_same_items():
    matrix = drawn(items=80, raters=4, missing=0.1)
    found = pooled(with_judge(matrix, matrix[:, 1].clip(0)))
    beside = found["judges"]["J1"]["leave_one_out_by_rater"]
    for rater, own in beside.items():
        assert own["rater"]["value"] == pytest.approx(found["leave_one_out"]["raters"][rater]["value"])
        assert own["rater"]["n"] == own["judge"]["n"] == found["leave_one_out"]["raters"][rater]["n"]
    assert beside["R2"]["judge"]["value"] == pytest.approx(beside["R2"]["rater"]["value"])


def test_the_confusion_of_raters_counts_each_ordered_pair():
    found = pooled(frame_of([[A, A, B], [TIE, B, -1]]), order=["A", "tie", "B"])["confusion"]
    assert found == [[2, 0, 2], [0, 0, 1], [2, 1, 0]]


def test_both_levels_of_alpha_stand_side_by_side_where_the_labels_have_an_order():
    frame = frame_of(drawn())
    plain, ordered = pooled(frame), pooled(frame, order=["B", "tie", "A"])
    assert ordered["krippendorff_alpha"] == ordered["krippendorff_alpha_nominal"]
    assert ordered["krippendorff_alpha"]["value"] == pytest.approx(plain["krippendorff_alpha_nominal"]["value"])
    assert "order" in plain["krippendorff_alpha_ordinal"]["reason"]
    by_level = pooled(frame, order=["B", "tie", "A"], level="ordinal")
    assert by_level["krippendorff_alpha"] == by_level["krippendorff_alpha_ordinal"]
    assert by_level["krippendorff_alpha"] != by_level["krippendorff_alpha_nominal"]


def test_tests_of_symmetry_are_by_criterion_and_corrected_over_pairs_and_over_criteria():
    criteria = ("empathy", "safety", "trust")
    frames = [
        pd.concat([with_judge(drawn(raters=3, seed=seed), drawn(raters=1, seed=seed + 9)[:, 0])]).assign(criterion=name)
        for seed, name in enumerate(criteria)
    ]
    result = agreement(pd.concat(frames), bootstrap=0)
    assert "symmetry" not in result["pooled"]
    of_pairs = [test["bowker"] for test in result["criteria"]["safety"]["symmetry"].values()]
    smallest = min(test["p"] for test in of_pairs)
    assert min(test["p_adjusted"] for test in of_pairs) >= smallest
    of_judge = [result["criteria"][name]["judges"]["J1"]["symmetry_with_majority"]["mcnemar"] for name in criteria]
    first = min(of_judge, key=lambda test: test["p"])
    assert first["p_adjusted"] == pytest.approx(min(1, 3 * first["p"]))
    assert "Holm" in result["settings"]["corrections"]["symmetry_with_majority"]


def test_of_one_criterion_pooled_says_the_same():
    result = agreement(with_judge(drawn(raters=3), drawn(raters=1, seed=2)[:, 0]), bootstrap=40)
    assert result["pooled"] == result["criteria"]["safety"]
    assert result["pooled"] is not result["criteria"]["safety"]
