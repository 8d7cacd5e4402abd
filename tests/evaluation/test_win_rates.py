import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from evaluation.statistics import Statistic, undefined, wilson
from evaluation.win_rates import (
    majorities,
    majority,
    mcnemar_p,
    pair_outcomes,
    verdict_outcomes,
    win_rates,
)

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]


def frame_of(rows):
    return pd.DataFrame(rows, columns=["prompt", "system_a", "system_b", "criterion", "label"])


def drawn(prompts=40, systems=("base", "dpo", "modpo"), criteria=("empathy", "safety"), seed=1):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.combinations(systems, 2))
    cells = itertools.product(range(prompts), pairs, criteria)
    return frame_of([[f"q{p}", a, b, c, rng.choice(["A", "tie", "B"], p=[0.3, 0.2, 0.5])] for p, (a, b), c in cells])


def test_a_statistic_never_holds_nan_and_says_why_it_is_undefined():
    for numbers in [(float("nan"), None, None), (0.5, float("inf"), 1.0)]:
        with pytest.raises(ValueError, match="finite"):
            Statistic(*numbers, n=3)
    with pytest.raises(ValueError, match="reason"):
        Statistic(None, None, None, 3)
    assert undefined("nobody rated it").as_dict() == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "reason": "nobody rated it",
    }
    assert str(Statistic(0.631, 0.514, 0.741, 20)) == "0.63 [0.51, 0.74]"


@given(st.integers(1, 500), st.data())
def test_wilson_equals_statsmodels(n, data):
    successes = data.draw(st.integers(0, n))
    statistic = wilson(successes, n)
    assert (statistic.low, statistic.high) == pytest.approx(
        proportion_confint(successes, n, method="wilson"), abs=1e-12
    )
    assert statistic.value == successes / n


def test_wilson_of_nothing_says_so_and_refuses_what_cannot_be():
    assert wilson(0, 0).reason
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson(5, 4)


def test_the_majority_is_the_label_given_most_often_and_a_draw_is_a_tie():
    assert majority(["A", "B", "A", "tie"]) == "A"
    assert majority(["A", "B"]) == majority(["B", "tie", "B", "tie"]) == "tie"
    with pytest.raises(ValueError, match="at least one"):
        majority([])


@given(st.lists(st.lists(st.sampled_from(["A", "tie", "B"]), min_size=1, max_size=9), min_size=1, max_size=8))
def test_majorities_of_a_frame_equal_the_majority_of_each_group(ballots):
    votes = frame_of([[f"q{i}", "x", "y", "safety", label] for i, labels in enumerate(ballots) for label in labels])
    found = majorities(votes).set_index("prompt")["label"].to_dict()
    assert found == {f"q{i}": majority(labels) for i, labels in enumerate(ballots)}


def test_the_win_rate_is_the_share_of_prompts_won_averaged_over_opponents():
    rows = [
        ["q1", "base", "dpo", "empathy", "B"],
        ["q2", "base", "dpo", "empathy", "tie"],
        ["q1", "base", "modpo", "empathy", "B"],
        ["q2", "base", "modpo", "empathy", "B"],
        ["q1", "dpo", "modpo", "empathy", "A"],
        ["q2", "dpo", "modpo", "empathy", "B"],
    ]
    rates = win_rates(frame_of(rows))
    assert {system: by["empathy"].value for system, by in rates.items()} == {"base": 0.0, "dpo": 0.5, "modpo": 0.75}
    assert rates["dpo"]["empathy"].n == 2


def test_an_opponent_met_on_fewer_prompts_weighs_as_much_as_another():
    rows = [[f"q{i}", "x", "y", "safety", "A"] for i in range(9)] + [["q0", "x", "z", "safety", "B"]]
    assert win_rates(frame_of(rows))["x"]["safety"].value == pytest.approx(0.5)


def test_the_interval_is_that_of_a_plain_bootstrap_over_prompts():
    frame = drawn(prompts=30)
    statistic = win_rates(frame, draws=4000, seed=3)["modpo"]["safety"]
    rows = frame[frame["criterion"] == "safety"]
    wins = rows.assign(won=(rows["label"] == "B") & (rows["system_b"] == "modpo"))
    table = wins[wins["system_b"] == "modpo"].pivot(index="prompt", columns="system_a", values="won").to_numpy(float)
    rng = np.random.default_rng(9)
    means = [table[rng.integers(0, 30, 30)].mean() for _ in range(4000)]
    assert statistic.value == pytest.approx(table.mean())
    assert (statistic.low, statistic.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.02)


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_rows():
    frame = drawn()
    shuffled = frame.sample(frac=1, random_state=5)
    first, second = win_rates(frame, seed=4), win_rates(shuffled, seed=4)
    assert {s: by["safety"] for s, by in first.items()} == {s: by["safety"] for s, by in second.items()}
    assert win_rates(frame, seed=5) != first


def test_without_draws_there_is_no_interval():
    statistic = win_rates(drawn(), draws=0)["base"]["safety"]
    assert (statistic.low, statistic.high) == (None, None)
    assert statistic.value is not None


def test_wins_and_losses_of_a_pair_add_up_and_carry_the_exact_mcnemar_test():
    rows = [[f"q{i}", "x", "y", "safety", label] for i, label in enumerate(["A"] * 12 + ["B"] * 2 + ["tie"] * 6)]
    (outcome,) = pair_outcomes(frame_of(rows))
    assert (outcome.wins, outcome.losses, outcome.ties) == (wilson(12, 20), wilson(2, 20), wilson(6, 20))
    assert outcome.mcnemar_p == pytest.approx(0.012939453125)
    assert json.loads(json.dumps(outcome.as_dict()))["wins"]["n"] == 20


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["statistic"] == "mcnemar"], ids=lambda v: v["id"])
def test_exact_mcnemar_equals_the_published_vectors_and_statsmodels(vector):
    (_, wins), (losses, _) = table = vector["inputs"]["table"]
    assert mcnemar_p(wins, losses) == pytest.approx(vector["expected"]["exact_p"], rel=1e-9)
    assert mcnemar_p(wins, losses) == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)


def test_mcnemar_without_a_decided_prompt_is_one():
    assert mcnemar_p(0, 0) == 1.0


def test_verdict_shares_count_every_verdict_and_are_resampled_by_prompt():
    rows = [[f"q{i}", "x", "y", "safety", label] for i in range(20) for label in ["A" if i < 12 else "B"] * 6]
    (outcome,) = verdict_outcomes(frame_of(rows))
    assert (outcome.wins.value, outcome.wins.n, outcome.prompts) == (0.6, 120, 20)
    as_if_independent = wilson(72, 120)
    assert outcome.wins.high - outcome.wins.low > 1.5 * (as_if_independent.high - as_if_independent.low)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["q1", "x", "y", "safety", "left"]], "'left'"),
        ([["q1", "x", "y", "safety", "A"]] * 2, "stands twice"),
        ([["q1", "x", "y", "safety", "A"], ["q2", "y", "x", "safety", "A"]], "both orders"),
    ],
)
def test_a_frame_that_cannot_be_counted_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        win_rates(frame_of(rows))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="criterion"):
        win_rates(drawn().drop(columns="criterion"))


def test_a_system_that_never_won_is_not_sure_to_lose_for_ever():
    frame = pd.DataFrame(
        [
            {"prompt": f"p{n}", "system_a": "base", "system_b": "modpo", "criterion": "empathy", "label": "B"}
            for n in range(20)
        ]
    )
    rates = win_rates(frame)
    assert (rates["base"]["empathy"].low, rates["base"]["empathy"].high) == pytest.approx(
        proportion_confint(0, 20, method="wilson")
    )
    assert rates["modpo"]["empathy"].low == pytest.approx(proportion_confint(20, 20, method="wilson")[0])


def test_a_win_rate_that_no_resample_changes_is_not_sure_either():
    rows = [(f"p{n}", a, b, "empathy", "A") for n in range(8) for a, b in (("x", "y"), ("z", "x"))]
    rate = win_rates(pd.DataFrame(rows, columns=["prompt", "system_a", "system_b", "criterion", "label"]))["x"][
        "empathy"
    ]
    assert rate.value == 0.5
    assert (rate.low, rate.high) == pytest.approx(proportion_confint(4, 8, method="wilson"))
