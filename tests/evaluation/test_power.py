import numpy as np
import pandas as pd
import pytest

from evaluation.agreement import agreement
from evaluation.power import Assumptions, expected_precision

NAMES = ("percent_agreement", "krippendorff_alpha", "gwet_ac1", "cohen_kappa", "win_rate")


def test_the_agreement_assumed_is_the_agreement_found():
    assumptions = Assumptions(a=0.5, tie=0.2, b=0.3, beyond_chance=0.6)
    found = expected_precision(assumptions, items=2000, raters=6, per_item=3)
    assert found.krippendorff_alpha.value == pytest.approx(0.6, abs=0.005)
    assert found.cohen_kappa.value == pytest.approx(0.6, abs=0.005)
    chance = 0.5**2 + 0.2**2 + 0.3**2
    assert found.percent_agreement.value == pytest.approx(0.6 + 0.4 * chance, abs=0.005)
    assert (found.items_a_rater, found.shared_items) == (1000, pytest.approx(400))


def test_one_rater_an_item_has_the_binomial_interval_of_the_win_rate_and_no_agreement():
    found = expected_precision(Assumptions(a=0.5, tie=0, b=0.5), items=100, raters=4, per_item=1)
    assert found.width("win_rate") == pytest.approx(2 * 1.96 * 0.05, abs=0.02)
    for name in NAMES[:4]:
        assert getattr(found, name).value is found.width(name) is None
        assert getattr(found, name).reason


def test_more_items_narrow_every_interval():
    few, many = (expected_precision(Assumptions(), items=items, raters=5, per_item=4) for items in (50, 800))
    for name in NAMES:
        assert many.width(name) == pytest.approx(few.width(name) / 4, rel=0.25), name
    assert many.power > few.power


def test_the_width_expected_is_that_of_the_bootstrap_over_items():
    items, raters, kappa = 400, 4, 0.5
    rng = np.random.default_rng(3)
    shape, shares = (items, raters), [0.45, 0.15, 0.4]
    truth = rng.choice(3, items, p=shares)[:, None]
    codes = np.where(rng.random(shape) < np.sqrt(kappa), truth, rng.choice(3, shape, p=shares))
    rows = [(i, f"R{r}", "c", ["A", "tie", "B"][code]) for (i, r), code in np.ndenumerate(codes)]
    report = agreement(pd.DataFrame(rows, columns=["item", "rater", "criterion", "label"]), bootstrap=1000)["pooled"]
    found = expected_precision(Assumptions(beyond_chance=kappa), items=items, raters=raters)
    for name in NAMES[:3]:
        assert report[name]["high"] - report[name]["low"] == pytest.approx(found.width(name), rel=0.2), name


def test_power_without_a_difference_is_at_most_the_level_of_the_test():
    equal = expected_precision(Assumptions(a=0.4, tie=0.2, b=0.4), items=150, raters=3)
    assert equal.power < 0.06
    assert expected_precision(Assumptions(a=0.7, tie=0.1, b=0.2), items=150, raters=3).power > 0.99


def test_a_seed_gives_one_result_and_verdicts_all_alike_say_why_there_is_no_agreement():
    assert expected_precision(Assumptions(), items=30, raters=3, seed=5) == expected_precision(
        Assumptions(), items=30, raters=3, seed=5
    )
    alike = expected_precision(Assumptions(a=1, tie=0, b=0), items=30, raters=3).as_dict()
    assert alike["percent_agreement"]["value"] == 1
    assert "one category" in alike["krippendorff_alpha"]["reason"]
    assert alike["assumptions"]["beyond_chance"] == 0.4


@pytest.mark.parametrize(
    ("assumed", "design", "message"),
    [
        ({"a": 0.9}, {}, "sum to 1"),
        ({"beyond_chance": -0.1}, {}, "between 0 and 1"),
        ({}, {"items": 0}, "at least one item"),
        ({}, {"per_item": 4}, "from 1 to 3, not 4"),
        ({}, {"raters": 90}, "from 1 to 40"),
        ({}, {"studies": 10}, "100 simulated"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(assumed, design, message):
    with pytest.raises(ValueError, match=message):
        expected_precision(Assumptions(**assumed), **{"items": 10, "raters": 3, **design})
