import numpy as np
import pandas as pd
import pytest

from evaluation.rater_profiles import median, profiles, stretch_of, with_rest


def frame_of(rows):
    """item, rater, choice, label, presentation, position, seconds"""
    frame = pd.DataFrame(rows, columns=["item", "rater", "choice", "label", "presentation", "position", "seconds"])
    return frame.assign(cluster=frame["item"], criterion="safety", assignment=np.arange(len(frame)))


THREE = frame_of(
    [
        (1, "C1", "left", "A", 1, 1, 10.0),
        (1, "C2", "right", "A", 1, 1, 20.0),
        (1, "C3", "tie", "tie", 1, 1, 30.0),
        (2, "C1", "left", "B", 1, 2, 30.0),
        (2, "C2", "cannot", None, 1, 2, 20.0),
        (3, "C1", "tie", "tie", 1, 3, 20.0),
        (3, "C3", "tie", "tie", 1, 2, 30.0),
        (1, "C1", "right", "A", 2, 4, 5.0),
        (3, "C1", "left", "A", 2, 5, 5.0),
    ]
)


def test_agreement_with_the_rest_is_the_share_of_others_with_the_same_label():
    rest = with_rest(THREE)["rest"]
    assert list(rest[:3]) == [0.5, 0.5, 0.0]
    assert rest[3:5].isna().all()
    assert list(rest[5:7]) == [1.0, 1.0]
    assert rest[7:].isna().all()


def test_a_profile_counts_first_looks_alone():
    first = profiles(THREE, draws=50)["C1"]
    assert first.rest.value == pytest.approx(0.75)
    assert first.ties.value == pytest.approx(1 / 3)
    assert (first.left.value, first.left.n) == (1.0, 2)
    assert first.seconds.value == 20.0
    second = profiles(THREE, draws=50)["C2"]
    assert (second.cannot.value, second.cannot.n) == (0.5, 2)


def test_a_rater_who_is_alone_has_no_agreement_and_says_why():
    alone = profiles(THREE[THREE["rater"] == "C1"], draws=10)["C1"]
    assert alone.rest.value is None
    assert alone.rest.reason


def test_the_order_of_rows_and_the_names_of_others_change_nothing():
    shuffled = THREE.sample(frac=1, random_state=3).reset_index(drop=True)
    assert profiles(shuffled, draws=200)["C1"] == profiles(THREE, draws=200)["C1"]
    renamed = THREE.replace({"rater": {"C2": "Z"}})
    assert profiles(renamed, draws=200)["C1"] == profiles(THREE, draws=200)["C1"]


def test_a_session_falls_into_parts_of_equal_length():
    rows = pd.DataFrame({"position": [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]})
    assert list(stretch_of(rows)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(stretch_of(rows[:3])) == [0, 1, 2]


def test_drift_shows_in_the_stretches():
    items = np.repeat(np.arange(50), 2)
    labels = np.where(np.arange(50) < 25, "A", "B")
    rows = [
        (item, rater, "left", "A" if rater == "C1" else labels[item], 1, item + 1, 40.0 - item / 2)
        for item in range(50)
        for rater in ("C1", "C2")
    ]
    found = profiles(frame_of(rows), draws=100)["C1"].stretches
    assert len(items) == 100
    assert [part.agreement.value for part in found] == pytest.approx([1, 1, 0.5, 0, 0])
    assert [(part.first, part.last) for part in found] == [(1, 10), (11, 20), (21, 30), (31, 40), (41, 50)]
    seconds = [part.seconds.value for part in found]
    assert seconds == sorted(seconds, reverse=True)


def test_the_interval_of_a_median_is_of_order_statistics():
    """Of 10 values the 2nd and 9th hold the median with 97.9 % (Conover 1999, table A3)."""
    found = median(pd.Series(np.arange(1.0, 11.0)))
    assert (found.value, found.low, found.high, found.n) == (5.5, 2.0, 9.0, 10)


def test_a_median_of_few_times_has_no_interval_and_of_none_no_value():
    assert median(pd.Series([1.0, 2.0, 9.0])).low is None
    assert median(pd.Series([np.nan, np.nan])).reason == "no times were recorded"


def test_a_rater_without_a_preference_for_a_side_shows_none_where_the_sides_are_unbalanced():
    # A stands on the left in 7 of 10 pairs, and is named in 9 of 10 whatever its side.
    rows = []
    for n in range(200):
        a_on_left, names_a = n % 10 < 7, n // 10 % 10 < 9
        rows.append((n, "C1", "left" if names_a == a_on_left else "right", "A" if names_a else "B", 1, n, 10.0))
    left = profiles(frame_of(rows), draws=200)["C1"].left
    assert (left.value, left.n) == (pytest.approx(0.5, abs=0.02), 200)


def test_verdicts_on_one_prompt_are_resampled_together():
    rows = [(n, "C1", "tie" if n < 20 else "left", "tie" if n < 20 else "A", 1, n, 10.0) for n in range(40)]
    apart = profiles(frame_of(rows), draws=500)["C1"].ties
    together = profiles(frame_of(rows).assign(cluster=lambda f: f["item"] // 10), draws=500)["C1"].ties
    assert apart.value == together.value == 0.5
    assert together.high - together.low > 2 * (apart.high - apart.low)
