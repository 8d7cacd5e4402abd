import json
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ttest_1samp
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from evaluation.agreement import (
    agreement,
    brennan_prediger,
    cohen_kappa,
    conger_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    percent_agreement,
    scott_pi,
)

VECTORS = {
    v["id"]: v for v in json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]
}
COEFFICIENTS = (
    "percent_agreement",
    "pairwise_agreement",
    "fleiss_kappa",
    "krippendorff_alpha",
    "gwet_ac1",
    "scott_pi",
)


def counts_of(matrix):
    """Counts of a matrix of integers by unit and rater, NaN or None for missing."""
    matrix = np.array(matrix, dtype=float)
    values = np.unique(matrix[~np.isnan(matrix)])
    return (matrix[:, :, None] == values).sum(axis=1).astype(float)


def frame_of(matrix, *, labels=("A", "tie", "B"), criterion="safety", kind="human", prefix="R"):
    rows = [
        [f"i{item:03d}", f"{prefix}{rater + 1}", criterion, labels[code], kind]
        for item, codes in enumerate(matrix)
        for rater, code in enumerate(codes)
        if code >= 0
    ]
    return pd.DataFrame(rows, columns=["item", "rater", "criterion", "label", "rater_kind"])


def drawn(items=60, raters=4, *, seed=0, noise=0.4, missing=0.0, sizes=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, sizes, items)[:, None]
    codes = np.where(rng.random((items, raters)) < noise, rng.integers(0, sizes, (items, raters)), truth)
    return np.where(rng.random((items, raters)) < missing, -1, codes)


def with_judge(matrix, judged):
    return pd.concat([frame_of(matrix), frame_of(np.array(judged)[:, None], kind="judge", prefix="J")])


def test_krippendorffs_own_example_with_missing_ratings():
    vector = VECTORS["kalpha_krippendorff2011_4obs"]
    counts = counts_of(np.array(vector["inputs"]["ratings_by_rater"], dtype=float).T)
    for level in vector["inputs"]["levels"]:
        found = krippendorff_alpha(counts, level=level, values=[1, 2, 3, 4, 5])[0]
        assert found == pytest.approx(vector["expected"][level], abs=1e-12)


def test_krippendorffs_example_of_two_observers():
    vector = VECTORS["kalpha_krippendorff2011_nominal"]
    counts = counts_of(np.array(vector["inputs"]["ratings_by_rater"], dtype=float).T)
    assert krippendorff_alpha(counts)[0] == pytest.approx(vector["expected"]["nominal"], abs=1e-12)


def test_fleiss_kappa_of_the_worked_example():
    vector = VECTORS["fleiss_wikipedia"]
    counts = np.array(vector["inputs"]["counts_subject_by_category"], dtype=float)
    assert fleiss_kappa(counts)[0] == pytest.approx(vector["expected"]["kappa"], abs=1e-12)


def test_gwets_four_raters_with_missing_ratings():
    vector = VECTORS["raw4raters"]
    counts = counts_of(vector["inputs"]["ratings_by_subject"])
    assert gwet_ac1(counts)[0] == pytest.approx(vector["expected"]["gwet_ac1"], abs=1e-9)
    assert fleiss_kappa(counts)[0] == pytest.approx(vector["expected"]["fleiss_kappa"], abs=1e-9)
    assert krippendorff_alpha(counts)[0] == pytest.approx(vector["expected"]["krippendorff_nominal"], abs=1e-9)
    assert brennan_prediger(counts)[0] == pytest.approx(vector["expected"]["brennan_prediger"], abs=1e-9)
    codes = np.array(vector["inputs"]["ratings_by_subject"], dtype=float)
    assert conger_kappa(codes)[0] == pytest.approx(vector["expected"]["conger_kappa"], abs=1e-9)


def test_gwets_two_abstractors():
    vector = VECTORS["cont3x3abstractors"]
    table = np.array(vector["inputs"]["table"], dtype=float)
    pairs = [cell for cell, count in np.ndenumerate(table) for _ in range(int(count))]
    counts, expected = counts_of(pairs), vector["expected"]
    assert cohen_kappa(table) == pytest.approx(expected["cohen_kappa"], abs=1e-12)
    for function, name in [
        (gwet_ac1, "gwet_ac1"),
        (scott_pi, "scott_pi"),
        (krippendorff_alpha, "krippendorff_nominal"),
        (percent_agreement, "percent_agreement"),
    ]:
        assert function(counts)[0] == pytest.approx(expected[name], abs=1e-12), name


def test_a_level_without_its_values_or_unknown_is_refused():
    counts = np.array([[2.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="needs the value"):
        krippendorff_alpha(counts, level="interval")
    with pytest.raises(ValueError, match="not 'log'"):
        krippendorff_alpha(counts, level="log")


def test_cohens_kappa_of_the_worked_example():
    vector = VECTORS["cohen_wikipedia_simple"]
    assert cohen_kappa(np.array(vector["inputs"]["table"], float)) == pytest.approx(vector["expected"]["kappa"])


codes = arrays(np.int64, st.tuples(st.integers(2, 12), st.integers(2, 5)), elements=st.integers(-1, 3))


@given(codes, st.sampled_from(["nominal", "ordinal"]))
@settings(max_examples=80, deadline=None)
def test_alpha_equals_the_krippendorff_library(matrix, level):
    data = np.where(matrix < 0, np.nan, matrix.astype(float))
    counts = (matrix[:, :, None] == np.arange(4)).sum(axis=1).astype(float)
    pairable = counts[counts.sum(axis=1) >= 2]
    assume((pairable.sum(axis=0) > 0).sum() > 1)
    expected = krippendorff.alpha(data.T, level_of_measurement=level)
    assert krippendorff_alpha(counts, level=level)[0] == pytest.approx(expected, abs=1e-9)


@given(codes)
@settings(max_examples=80, deadline=None)
def test_complete_ratings_give_the_fleiss_kappa_of_statsmodels(matrix):
    counts = counts_of(np.abs(matrix))
    assume(counts.shape[1] > 1)
    assert fleiss_kappa(counts)[0] == pytest.approx(statsmodels_fleiss_kappa(counts), abs=1e-9)


def test_cohens_kappas_equal_scikit_learn():
    matrix = drawn(raters=3, missing=0.1)
    found = agreement(frame_of(matrix), bootstrap=0)["criteria"]["safety"]["cohen_kappa"]
    assert list(found) == ["R1|R2", "R1|R3", "R2|R3"]
    for pair, (a, b) in zip(found, [(0, 1), (0, 2), (1, 2)], strict=True):
        both = (matrix[:, a] >= 0) & (matrix[:, b] >= 0)
        assert found[pair]["value"] == pytest.approx(cohen_kappa_score(matrix[both, a], matrix[both, b]))
        assert found[pair]["n"] == both.sum()


def test_more_pairs_than_fit_at_once_are_all_reported(monkeypatch):
    frame = frame_of(drawn(raters=5))
    whole = agreement(frame, bootstrap=50)["pooled"]["cohen_kappa"]
    monkeypatch.setattr("evaluation.pair_tables.PAIRS_AT_ONCE", 3)
    assert agreement(frame, bootstrap=50)["pooled"]["cohen_kappa"] == whole
    assert len(whole) == 10


def test_the_interval_is_that_of_a_plain_bootstrap_over_items():
    matrix = drawn(items=40, raters=3, missing=0.1)
    statistic = agreement(frame_of(matrix), bootstrap=2000, seed=1)["criteria"]["safety"]["krippendorff_alpha"]
    data = np.where(matrix < 0, np.nan, matrix.astype(float))
    rng = np.random.default_rng(7)
    plain = [krippendorff.alpha(data[rng.integers(0, 40, 40)].T, level_of_measurement="nominal") for _ in range(1500)]
    assert (statistic["low"], statistic["high"]) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])), abs=0.03)


def test_blocks_of_resamples_do_not_change_the_result(monkeypatch):
    frame = frame_of(drawn(items=20, raters=3))
    whole = agreement(frame, bootstrap=100)["pooled"]
    monkeypatch.setattr("evaluation.bootstrap.BLOCK", 20 * 7)
    cut = agreement(frame, bootstrap=100)["pooled"]
    assert cut["gwet_ac1"] == pytest.approx(whole["gwet_ac1"])
    assert cut["cohen_kappa"]["R1|R2"] == pytest.approx(whole["cohen_kappa"]["R1|R2"])


def test_pooled_units_are_items_by_criterion_and_an_item_is_resampled_whole():
    matrix = drawn(items=30, raters=3)
    copies = pd.concat([frame_of(matrix, criterion=name) for name in ("empathy", "safety", "trust")])
    found = agreement(copies, bootstrap=500)
    one, pooled = found["criteria"]["safety"]["percent_agreement"], found["pooled"]["percent_agreement"]
    assert found["pooled"]["items"] == pooled["n"] == 90
    # Three copies of the same ratings hold no more than one: the interval must not shrink.
    assert {**pooled, "n": 30} == pytest.approx(one)


def test_the_order_of_rows_changes_nothing():
    frame = with_judge(drawn(missing=0.1), drawn(raters=1, seed=3)[:, 0])
    assert agreement(frame.sample(frac=1, random_state=2), bootstrap=50) == agreement(frame, bootstrap=50)


def test_labels_may_be_renamed_when_nominal_and_turned_round_when_ordinal():
    matrix = drawn()
    plain = agreement(frame_of(matrix), bootstrap=0)["pooled"]
    renamed = agreement(frame_of(matrix, labels=("z", "m", "q")), bootstrap=0)["pooled"]
    assert [renamed[c]["value"] for c in COEFFICIENTS[:5]] == pytest.approx(
        [plain[c]["value"] for c in COEFFICIENTS[:5]]
    )
    up = agreement(frame_of(matrix), level="ordinal", order=["B", "tie", "A"], bootstrap=0)["pooled"]
    down = agreement(frame_of(matrix), level="ordinal", order=["A", "tie", "B"], bootstrap=0)["pooled"]
    assert up["krippendorff_alpha"]["value"] == pytest.approx(down["krippendorff_alpha"]["value"])
    assert up["krippendorff_alpha"]["value"] != pytest.approx(plain["krippendorff_alpha"]["value"])


def test_percent_agreement_without_ties_leaves_out_the_ratings_that_are_ties():
    found = agreement(frame_of([[0, 0, 1], [2, 1, 1], [0, 2, 1], [0, 0, 0]]), bootstrap=0)["pooled"]
    assert found["percent_agreement"]["value"] == pytest.approx((1 / 3 + 1 / 3 + 0 + 1) / 4)
    assert found["percent_agreement_without_ties"]["value"] == pytest.approx(2 / 3)
    assert found["percent_agreement_without_ties"]["n"] == 3


def test_mean_over_items_and_share_of_all_pairs_differ_with_missing_ratings():
    found = agreement(frame_of([[0, 0, 0], [0, 1, -1], [2, -1, -1]]), bootstrap=0)["pooled"]
    assert found["percent_agreement"]["value"] == 0.5
    assert found["pairwise_agreement"]["value"] == 0.75
    assert (found["items"], found["raters"], found["ratings"]) == (3, 3, 6)


def test_one_category_alone_leaves_coefficients_undefined_and_says_why():
    found = agreement(frame_of(np.zeros((5, 3), int)))["pooled"]
    assert found["percent_agreement"]["value"] == 1
    for name in ("fleiss_kappa", "krippendorff_alpha", "gwet_ac1"):
        assert found[name]["value"] is None
        assert "one category" in found[name]["reason"]
    assert "one category" in found["cohen_kappa"]["R1|R2"]["reason"]


def test_items_with_one_rating_leave_everything_undefined_and_say_why():
    found = agreement(frame_of([[0, -1], [-1, 1], [2, -1]]))["pooled"]
    for name in COEFFICIENTS:
        assert found[name]["value"] is None
        assert "two ratings" in found[name]["reason"]
    assert "in common" in found["cohen_kappa"]["R1|R2"]["reason"]


def test_scotts_pi_is_for_two_raters():
    assert "there are 3" in agreement(frame_of(drawn(raters=3)), bootstrap=0)["pooled"]["scott_pi"]["reason"]
    assert agreement(frame_of(drawn(raters=2)), bootstrap=0)["pooled"]["scott_pi"]["reason"] is None


def test_a_single_item_has_no_interval_and_says_so():
    found = agreement(frame_of([[0, 0, 1]]))["pooled"]["percent_agreement"]
    assert found["value"] == pytest.approx(1 / 3)
    assert found["low"] is None
    assert "one item" in found["reason"]


def test_what_is_alike_on_all_items_is_not_taken_for_sure():
    matrix = np.tile([0, 1, 2, 0, 0], (3, 1)).T
    found = agreement(frame_of(matrix), bootstrap=50)["pooled"]
    low, high = proportion_confint(5, 5, method="wilson")
    for name in ("percent_agreement", "pairwise_agreement"):
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high))
    assert found["leave_one_out"]["all"]["low"] == pytest.approx(low)
    alpha = found["krippendorff_alpha"]
    assert (alpha["value"], alpha["low"]) == (1, None)
    assert alpha["reason"] == "no interval: all resamples give the same"


def test_two_raters_who_share_one_item_of_many_have_no_interval():
    matrix = np.full((40, 2), -1)
    matrix[:20, 0] = matrix[19:, 1] = 0
    matrix[5, 0] = 1
    found = agreement(frame_of(matrix), bootstrap=50)["pooled"]
    assert (found["percent_agreement"]["value"], found["percent_agreement"]["n"]) == (1, 1)
    for name in ("percent_agreement", "gwet_ac1"):
        assert found[name]["low"] is None
        assert found[name]["reason"] == "no interval: there is one item only"


def test_judges_without_people_give_no_agreement_but_no_error():
    found = agreement(frame_of(drawn(raters=1), kind="judge"))["pooled"]
    assert found["items"] == found["raters"] == 0
    assert found["percent_agreement"]["reason"]


def test_the_whole_result_is_json_without_nan():
    frame = pd.concat(
        [with_judge(drawn(items=4, raters=2, missing=0.5), [0, 1, 2, -1]), frame_of([[0]], criterion="x")]
    )
    result = agreement(frame, level="ordinal", order=["B", "tie", "A"], bootstrap=20)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) == {"criteria", "pooled", "settings"}
    assert result["settings"]["order"] == ["B", "tie", "A"]


def test_a_judge_is_held_against_every_rater_and_against_their_majority():
    matrix = [[0, 0, 1], [0, 1, 2], [2, 2, 2], [1, 1, 0]]
    found = agreement(with_judge(matrix, [0, 0, 1, 1]), bootstrap=0)["pooled"]["judges"]["J1"]
    assert found["agreement_with_raters"]["value"] == pytest.approx((2 / 3 + 1 / 3 + 0 + 2 / 3) / 4)
    assert found["agreement_with_majority"]["value"] == pytest.approx(2 / 3)
    assert found["agreement_with_majority"]["n"] == 3
    assert found["majority_ties_excluded"] == 1


def test_a_rater_left_out_is_held_against_the_same_majorities_as_the_judge():
    matrix = [[0, 0, 0], [0, 0, 1]]
    found = agreement(with_judge(matrix, [0, 1]), bootstrap=0)["pooled"]["judges"]["J1"]["leave_one_out"]
    # Item 2 has one majority of two others that is not level: that of raters 1 and 2, against rater 3.
    assert found["raters"]["value"] == pytest.approx(3 / 4)
    assert found["judge"]["value"] == pytest.approx(3 / 4)


def test_a_judge_who_copies_a_rater_agrees_as_that_rater_does():
    matrix = drawn(raters=5, noise=0.5)
    found = agreement(with_judge(matrix, matrix[:, 0]), bootstrap=0)["pooled"]
    assert found["judges"]["J1"]["alt_test"]["raters"]["R1"]["rho_judge"] == 1.0


def naive_alternative_annotator_test(matrix, judged, epsilon):
    """As the paper's section 3 writes it, item by item."""
    p, rho = [], []
    for j in range(matrix.shape[1]):
        wins_judge, wins_rater = [], []
        for codes, judge in zip(matrix, judged, strict=True):
            others = [c for r, c in enumerate(codes) if r != j and c >= 0]
            if codes[j] < 0 or judge < 0 or not others:
                continue
            match_judge = np.mean([judge == c for c in others])
            match_rater = np.mean([codes[j] == c for c in others])
            wins_judge.append(match_judge >= match_rater)
            wins_rater.append(match_rater >= match_judge)
        gaps = np.array(wins_rater, float) - np.array(wins_judge, float)
        p.append(ttest_1samp(gaps, epsilon, alternative="less").pvalue)
        rho.append(np.mean(wins_judge))
    return p, multipletests(p, 0.05, method="fdr_by")[0], np.mean(rho)


@pytest.mark.parametrize(("noise", "passes"), [(0.2, True), (0.9, False)])
def test_the_alternative_annotator_test_equals_its_definition(noise, passes):
    matrix = drawn(items=80, raters=4, missing=0.15)
    truth = drawn(items=80, raters=1, noise=noise)[:, 0]
    found = agreement(with_judge(matrix, truth), bootstrap=0)["pooled"]["judges"]["J1"]["alt_test"]
    p, rejected, rho = naive_alternative_annotator_test(matrix, truth, 0.2)
    assert [row["p"] for row in found["raters"].values()] == pytest.approx(p)
    assert [row["rejected"] for row in found["raters"].values()] == list(rejected)
    assert found["advantage_probability"]["value"] == pytest.approx(rho)
    assert found["winning_rate"]["value"] == pytest.approx(np.mean(rejected))
    assert found["passes"] is passes


def test_the_alternative_annotator_test_needs_thirty_items_a_rater():
    matrix = drawn(items=29, raters=3)
    found = agreement(with_judge(matrix, matrix[:, 0]), bootstrap=0)["pooled"]["judges"]["J1"]["alt_test"]
    assert found["winning_rate"]["value"] is found["advantage_probability"]["value"] is found["passes"] is None
    assert "30" in found["winning_rate"]["reason"]
    assert found["raters"]["R1"]["n"] == 29


def test_a_judge_that_always_matches_is_taken_at_its_word():
    matrix = np.tile(drawn(items=30, raters=1), 3)
    found = agreement(with_judge(matrix, matrix[:, 0]), bootstrap=0)["pooled"]["judges"]["J1"]["alt_test"]
    assert {row["p"] for row in found["raters"].values()} == {0.0}
    strict = agreement(with_judge(matrix, matrix[:, 0]), bootstrap=0, epsilon=0)["pooled"]["judges"]["J1"]["alt_test"]
    assert strict["winning_rate"]["value"] == 0.0


def test_one_judge_may_be_asked_for_by_name():
    matrix = drawn(raters=2)
    frame = pd.concat([frame_of(matrix), frame_of(drawn(raters=2, seed=4), kind="judge", prefix="J")])
    assert list(agreement(frame, bootstrap=0, judge="J2")["pooled"]["judges"]) == ["J2"]
    with pytest.raises(ValueError, match=r"no judge 'gpt' \(there are: J1, J2\)"):
        agreement(frame, judge="gpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="label"), "no column label"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "'R1' stands twice on item 'i000'"),
        (lambda f: f.assign(label=[None, *f["label"][1:]]), "empty cells"),
        (lambda f: f.assign(label=["", *f["label"][1:]]), "empty cells"),
        (lambda f: f.assign(rater_kind="robot"), "'robot'"),
        (lambda f: f.assign(rater_kind=["judge", *f["rater_kind"][1:]]), "'R1' is human in one row"),
    ],
)
def test_a_frame_that_cannot_be_read_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        agreement(change(frame_of(drawn())))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "interval"}, "nominal or ordinal"),
        ({"level": "ordinal"}, "needs the order"),
        ({"order": ["A", "B"]}, "'tie' is not in the order"),
        ({"order": ["A", "A", "tie", "B"]}, "twice"),
        ({"epsilon": 2}, "epsilon"),
        ({"bootstrap": -1}, "from 0 to 100,000"),
        ({"bootstrap": 10**11}, "from 0 to 100,000"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        agreement(frame_of(drawn()), **options)


def two_pairs(matrix, other, *, prompts=None, turned=False):
    """Two pairs of systems on the same prompts; of the second, A may be the system that B was."""
    words = ("B", "tie", "A") if turned else ("A", "tie", "B")
    first, second = frame_of(matrix), frame_of(other, labels=words)
    frame = pd.concat([first.assign(pair="x|y"), second.assign(item="z" + second["item"], pair="x|z")])
    return frame.assign(cluster=frame["item"].str[-3:])


def test_which_system_of_a_pair_is_named_first_changes_no_coefficient():
    leaning = np.where(np.random.default_rng(2).random((60, 3)) < 0.85, 0, drawn(raters=3))
    plain, turned = (agreement(two_pairs(drawn(raters=3), leaning, turned=t), bootstrap=50) for t in (False, True))
    for name in COEFFICIENTS[:-1]:
        for key in ("value", "low", "high"):
            assert turned["pooled"][name][key] == pytest.approx(plain["pooled"][name][key], abs=1e-12), name
    for pair, kappa in plain["pooled"]["cohen_kappa"].items():
        assert turned["pooled"]["cohen_kappa"][pair]["value"] == pytest.approx(kappa["value"])
    assert "symmetry" not in plain["criteria"]["safety"]


def test_chance_is_that_within_each_criterion():
    """Raters who guess, nearly always A on one criterion and B on the other, agree by chance alone."""
    rng = np.random.default_rng(0)
    easy, hard = ((rng.random((400, 3)) < share).astype(int) * 2 for share in (0.1, 0.9))
    frame = pd.concat([frame_of(easy), frame_of(hard, criterion="empathy")])
    found = agreement(frame, bootstrap=0)["pooled"]
    assert found["percent_agreement"]["value"] > 0.8
    for name in ("krippendorff_alpha", "fleiss_kappa"):
        assert abs(found[name]["value"]) < 0.05
    assert all(abs(kappa["value"]) < 0.1 for kappa in found["cohen_kappa"].values())


def test_coefficients_over_groups_are_observed_and_expected_summed_over_them():
    matrices = [drawn(seed=seed, missing=0.2, noise=noise) for seed, noise in ((1, 0.2), (2, 0.7))]
    frame = pd.concat([frame_of(matrices[0]), frame_of(matrices[1], criterion="empathy")])
    found = agreement(frame, bootstrap=0)["pooled"]
    observed, expected = 0.0, 0.0
    kappas, pairs = [], []
    for matrix in matrices:
        reliability = np.where(matrix < 0, np.nan, matrix).T
        pairable = reliability[:, (matrix >= 0).sum(axis=1) >= 2]
        n = int((~np.isnan(pairable)).sum())
        counts = np.array([(pairable == code).sum() for code in range(3)])
        d_expected = (n**2 - (counts**2).sum()) / (n - 1)
        expected += d_expected
        observed += d_expected * (1 - krippendorff.alpha(reliability, level_of_measurement="nominal"))
        both = (matrix[:, 0] >= 0) & (matrix[:, 1] >= 0)
        table = np.histogram2d(*matrix[both][:, :2].T, bins=np.arange(4) - 0.5)[0]
        pairs.append(both.sum())
        kappas.append((np.trace(table), (table.sum(axis=0) * table.sum(axis=1)).sum() / both.sum()))
    assert found["krippendorff_alpha"]["value"] == pytest.approx(1 - observed / expected)
    (agreed, by_chance) = np.sum(kappas, axis=0)
    assert found["cohen_kappa"]["R1|R2"]["value"] == pytest.approx((agreed - by_chance) / (sum(pairs) - by_chance))


def test_comparisons_of_one_prompt_are_resampled_together():
    matrix = np.repeat(drawn(30), 3, axis=0)
    frame = frame_of(matrix)
    by_prompt = agreement(frame.assign(cluster=frame["item"].str[1:].astype(int) // 3), bootstrap=500)["pooled"]
    by_item = agreement(frame, bootstrap=500)["pooled"]
    for name in ("percent_agreement", "krippendorff_alpha"):
        assert by_prompt[name]["value"] == by_item[name]["value"]
        widths = [found[name]["high"] - found[name]["low"] for found in (by_prompt, by_item)]
        assert widths[0] == pytest.approx(widths[1] * 3**0.5, rel=0.15)
    assert by_prompt["percent_agreement"]["n"] == 90


def test_an_item_of_two_pairs_is_refused():
    frame = frame_of(drawn(2))
    with pytest.raises(ValueError, match="item 'i000' is of two pairs"):
        agreement(frame.assign(pair=frame["rater"]))


def test_a_judge_leans_where_it_names_a_label_more_often_than_a_rater_does():
    matrix = drawn(80, seed=4)
    judged = np.where(matrix[:, 0] == 1, 0, matrix[:, 0])
    lean = agreement(with_judge(matrix, judged), bootstrap=200)["pooled"]["judges"]["J1"]["lean"]
    for code, name in enumerate(("A", "tie", "B")):
        assert lean[name]["value"] == pytest.approx(((judged == code) - (matrix == code).mean(axis=1)).mean())
    assert lean["A"]["low"] > 0 > lean["tie"]["high"]
    assert lean["B"]["low"] < 0 < lean["B"]["high"]


def test_a_rater_in_the_place_of_the_judge_does_not_lean_though_majorities_tie_less():
    rng = np.random.default_rng(5)
    quality = rng.normal(size=(300, 1)) + rng.normal(size=(300, 7))
    codes = np.where(np.abs(quality) < 0.2, 1, np.where(quality > 0, 0, 2))
    found = agreement(with_judge(codes[:, :6], codes[:, 6]), bootstrap=300)["criteria"]["safety"]["judges"]["J1"]
    assert found["symmetry_with_majority"]["stuart_maxwell"]["p"] < 0.05
    assert all(own["low"] < 0 < own["high"] for own in found["lean"].values())


def test_a_judge_that_always_names_the_commonest_label_is_told_beside_the_test():
    rng = np.random.default_rng(6)
    guesses = rng.choice(3, p=[0.6, 0.1, 0.3], size=(100, 3))
    test = agreement(with_judge(guesses, rng.choice(3, size=100)), bootstrap=0)["pooled"]["judges"]["J1"]["alt_test"]
    constant = agreement(with_judge(guesses, np.zeros(100, dtype=int)), bootstrap=0)["pooled"]["judges"]["J1"][
        "alt_test"
    ]
    assert test["baseline"]["value"] == constant["winning_rate"]["value"] == 1
