import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from evaluation.coefficients import gwet_ac1
from evaluation.intra_rater import intra_rater

LABELS = np.array(["A", "tie", "B"])


def looks(first, second, *, rater="R1", criterion="safety"):
    """Labels of the first and the second look at each item; None where there was no such look."""
    rows = [
        (f"i{item}", rater, criterion, presentation, label)
        for item, pair in enumerate(zip(first, second, strict=True))
        for presentation, label in enumerate(pair, start=1)
        if label
    ]
    return pd.DataFrame(rows, columns=["item", "rater", "criterion", "presentation", "label"])


def drawn(items=40, *, seed=0, **names):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 3, items)
    second = np.where(rng.random(items) < 0.7, first, rng.integers(0, 3, items))
    return looks(LABELS[first], LABELS[second], **names), first, second


def test_a_rater_has_the_kappa_of_scikit_learn_between_two_looks():
    frame, first, second = drawn()
    found = intra_rater(frame, draws=200)["raters"]["R1"]
    assert found["cohen_kappa"].value == pytest.approx(cohen_kappa_score(first, second))
    assert found["percent_agreement"].value == pytest.approx((first == second).mean())
    counts = (np.stack([first, second], axis=1)[:, :, None] == np.arange(3)).sum(axis=1).astype(float)
    assert found["gwet_ac1"].value == pytest.approx(gwet_ac1(counts)[0])
    sided = (first != 1) & (second != 1)
    assert found["percent_agreement_without_ties"].value == pytest.approx((first == second)[sided].mean())
    assert found["percent_agreement_without_ties"].n == sided.sum()
    for statistic in found.values():
        assert statistic.low <= statistic.value <= statistic.high


def test_pooled_counts_every_pair_of_looks_and_an_item_is_resampled_with_all_its_criteria():
    one = drawn()[0]
    copies = pd.concat([one.assign(criterion=name) for name in ("empathy", "safety", "trust")])
    found = intra_rater(copies, draws=300)
    alone, pooled = found["criteria"]["safety"]["percent_agreement"], found["pooled"]["percent_agreement"]
    assert pooled.n == 120
    # Three copies of the same looks hold no more than one: the interval must not shrink.
    assert (pooled.value, pooled.low, pooled.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_what_was_seen_once_does_not_count_and_a_rater_without_second_looks_says_why():
    frame = pd.concat([looks(["A", "B", "A"], ["A", None, None]), looks(["A", "A"], [None, None], rater="R2")])
    found = intra_rater(frame, draws=10)
    assert found["raters"]["R1"]["percent_agreement"].n == 1
    assert found["raters"]["R2"]["percent_agreement"].value is None
    assert found["raters"]["R2"]["percent_agreement"].reason
    assert found["raters"]["R2"]["cohen_kappa"].reason


def test_the_order_of_rows_changes_nothing():
    frame = pd.concat([drawn(seed=seed, rater=f"R{seed}")[0] for seed in (1, 2, 3)])
    assert (
        intra_rater(frame.sample(frac=1, random_state=5), draws=50)["pooled"] == intra_rater(frame, draws=50)["pooled"]
    )


def test_a_frame_of_looks_that_cannot_be_read_is_refused():
    frame = drawn()[0]
    with pytest.raises(ValueError, match="no column presentation"):
        intra_rater(frame.drop(columns="presentation"))
    with pytest.raises(ValueError, match="same look"):
        intra_rater(pd.concat([frame, frame]))
