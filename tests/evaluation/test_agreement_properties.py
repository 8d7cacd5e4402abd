"""What must hold of agreement whatever the labels are."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.agreement import agreement
from tests.evaluation.test_agreement import frame_of, with_judge

COEFFICIENTS = (
    "percent_agreement",
    "percent_agreement_without_ties",
    "pairwise_agreement",
    "pairwise_agreement_without_ties",
    "fleiss_kappa",
    "krippendorff_alpha_nominal",
    "krippendorff_alpha_ordinal",
    "gwet_ac1",
)
SWAP = {"A": "B", "tie": "tie", "B": "A"}
ORDER = ["B", "tie", "A"]

codes = arrays(np.int64, st.tuples(st.integers(3, 10), st.integers(2, 4)), elements=st.integers(-1, 2))
judged = st.lists(st.integers(-1, 2), min_size=10, max_size=10)


def pooled(frame, **options):
    return agreement(frame, **{"order": ORDER, "bootstrap": 30, **options})["pooled"]


def statistics_in(part, path=()):
    """Each statistic of a section with its path."""
    for key, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, dict) and {"value", "low", "high"} <= set(value):
            yield (*path, key), value
        else:
            yield from statistics_in(value, (*path, key))


def values_of(part):
    return {name: part[name]["value"] for name in COEFFICIENTS}


def labelled(matrix, verdicts):
    matrix = np.where(matrix.max() < 0, 0, matrix)
    return with_judge(matrix, verdicts[: len(matrix)])


@given(codes, judged, st.permutations(range(4)), st.permutations(range(10)))
@settings(max_examples=40, deadline=None)
def test_naming_raters_and_items_otherwise_and_shuffling_rows_changes_no_value(matrix, verdicts, order, places):
    frame = labelled(matrix, verdicts)
    raters = {f"R{n + 1}": f"Q{order[n]}" for n in range(4)}
    items = {f"i{item:03d}": f"z{place}" for item, place in enumerate(places)}
    other = frame.assign(rater=frame["rater"].replace(raters), item=frame["item"].map(items))
    plain, changed = pooled(frame), pooled(other.sample(frac=1, random_state=1))
    assert values_of(changed) == pytest.approx(values_of(plain))
    for name, own in plain["judges"].items():
        for path, statistic in statistics_in(own):
            if not path[0].endswith("by_rater") and "cohen_kappa" not in path and "alt_test" not in path:
                found = dict(statistics_in(changed["judges"][name]))[path]
                assert found["value"] == pytest.approx(statistic["value"], abs=1e-12), path
    kappas = sorted(s["value"] for s in plain["cohen_kappa"].values() if s["value"] is not None)
    assert sorted(s["value"] for s in changed["cohen_kappa"].values() if s["value"] is not None) == pytest.approx(
        kappas
    )


@given(codes, judged)
@settings(max_examples=40, deadline=None)
def test_naming_the_first_system_the_second_changes_nothing(matrix, verdicts):
    frame = labelled(matrix, verdicts)
    turned = frame.assign(label=frame["label"].map(SWAP))
    plain, other = dict(statistics_in(pooled(frame))), dict(statistics_in(pooled(turned)))
    assert set(plain) == set(other)
    for path, statistic in plain.items():
        # How far a judge leans towards A is how far it leans towards what is B then.
        same = (*path[:-1], SWAP[path[-1]]) if "lean" in path else path
        for key in ("value", "low", "high"):
            assert other[same][key] == pytest.approx(statistic[key], abs=1e-9), path


@given(codes)
@settings(max_examples=30, deadline=None)
def test_other_words_for_the_labels_change_no_nominal_value(matrix):
    matrix = np.where(matrix.max() < 0, 0, matrix)
    words = {"A": "x", "tie": "y", "B": "z"}
    frame = frame_of(matrix)
    plain = agreement(frame, bootstrap=0)["pooled"]
    other = agreement(frame.assign(label=frame["label"].map(words)), bootstrap=0)["pooled"]
    for name in ("percent_agreement", "pairwise_agreement", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1"):
        assert other[name]["value"] == pytest.approx(plain[name]["value"], abs=1e-12)


@given(st.lists(st.integers(0, 2), min_size=3, max_size=12).filter(lambda row: {0, 2} <= set(row)), st.integers(2, 4))
def test_perfect_agreement_is_1(row, raters):
    found = pooled(with_judge(np.tile(np.array(row)[:, None], raters), row), bootstrap=0)
    others = ("winning_rate", "baseline", "advantage_probability", "scott_pi")
    for path, statistic in statistics_in(found):
        if path[-1] not in others and statistic["value"] is not None:
            assert statistic["value"] == pytest.approx(0 if "lean" in path else 1, abs=1e-12), path
    assert values_of(found) == pytest.approx(dict.fromkeys(COEFFICIENTS, 1))


@given(st.integers(0, 2), st.integers(2, 6), st.integers(2, 4))
def test_one_category_leaves_what_is_above_chance_undefined_with_a_reason(label, items, raters):
    found = pooled(with_judge(np.full((items, raters), label), [label] * items))
    for name in ("fleiss_kappa", "krippendorff_alpha_nominal", "krippendorff_alpha_ordinal"):
        assert found[name]["value"] is None
        assert "one category" in found[name]["reason"]
    # Its chance goes by the categories there were to choose from, which the order tells.
    assert found["gwet_ac1"]["value"] == 1
    assert "one category" in agreement(frame_of(np.full((items, raters), label)))["pooled"]["gwet_ac1"]["reason"]
    assert "one category" in found["judges"]["J1"]["kappa_with_majority"]["reason"]
    assert found["percent_agreement"]["value"] == 1


@given(codes, judged)
@settings(max_examples=40, deadline=None)
def test_whatever_is_missing_every_statistic_is_a_number_or_says_why(matrix, verdicts):
    result = agreement(labelled(matrix, verdicts), order=ORDER, bootstrap=20)
    assert json.loads(json.dumps(result, allow_nan=False))
    for path, statistic in statistics_in(result["pooled"]):
        assert statistic["value"] is not None or statistic["reason"], path
        assert (statistic["low"] is None) == (statistic["high"] is None), path
        if statistic["low"] is not None:
            assert statistic["low"] <= statistic["high"], path


def test_intervals_hold_what_they_estimate_about_as_often_as_they_say():
    # Raters follow an item's truth with chance 0.8, else one label of three: any two agree with chance 0.76.
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        truth = rng.integers(0, 3, (60, 1))
        matrix = np.where(rng.random((60, 3)) < 0.8, truth, rng.integers(0, 3, (60, 3)))
        found = pooled(frame_of(matrix), bootstrap=300)["percent_agreement"]
        held += found["low"] <= 0.64 + 0.36 / 3 <= found["high"]
    assert 176 <= held <= 199


@pytest.mark.parametrize("raters", [2, 5])
def test_sparse_and_dense_features_and_any_number_of_passes_give_the_same(monkeypatch, raters):
    rng = np.random.default_rng(2)
    matrix = np.where(rng.random((50, raters)) < 0.4, -1, rng.integers(0, 3, (50, raters)))
    frames = [with_judge(matrix, rng.integers(0, 3, 50)).assign(criterion=name) for name in ("empathy", "safety")]
    whole = dict(statistics_in(pooled(pd.concat(frames))))
    monkeypatch.setattr("evaluation.ratings.SMALL", 10)
    monkeypatch.setattr("evaluation.bootstrap.SMALL", 10)
    monkeypatch.setattr("evaluation.ratings.SPARSE", 1.1)
    monkeypatch.setattr("evaluation.bootstrap.HELD", 100)
    monkeypatch.setattr("evaluation.bootstrap.BLOCK", 400)
    parts = dict(statistics_in(pooled(pd.concat(frames))))
    assert set(parts) == set(whole)
    for path, statistic in whole.items():
        assert parts[path] == pytest.approx(statistic), path
