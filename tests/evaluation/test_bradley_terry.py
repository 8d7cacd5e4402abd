import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from evaluation.bradley_terry import bradley_terry, fit

VECTORS = {
    v["id"]: v for v in json.loads((Path(__file__).parent.parent / "data" / "stat_vectors.json").read_text())["vectors"]
}


def pairs_of(systems):
    return np.array(list(combinations(range(systems), 2)))


def counts_of(wins, ties=None):
    """Counts as `fit` takes them of a matrix of wins, row over column, and one of ties."""
    wins = np.asarray(wins, float)
    ties = np.zeros_like(wins) if ties is None else np.asarray(ties, float)
    return np.array([[[wins[i, j], ties[i, j], wins[j, i]] for i, j in pairs_of(len(wins))]])


def frame_of(rows, criterion="safety"):
    frame = pd.DataFrame(rows, columns=["prompt", "system_a", "system_b", "label"])
    return frame.assign(criterion=criterion)


def drawn(strengths, nu, *, prompts=60, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for prompt in range(prompts):
        for (a, x), (b, y) in combinations(strengths.items(), 2):
            odds = np.array([np.exp((x - y) / 2), nu, np.exp((y - x) / 2)])
            rows.append((f"q{prompt}", a, b, str(rng.choice(["A", "tie", "B"], p=odds / odds.sum()))))
    return frame_of(rows)


def test_citations_of_journals_have_the_published_strengths_and_errors():
    vector = VECTORS["bt_stigler_citations"]
    found = fit(counts_of(vector["inputs"]["wins_row_over_column"]), pairs_of(4), 4)
    names = vector["inputs"]["items"][1:]
    expected = vector["expected"]
    assert found.strengths[0, 1:] == pytest.approx([expected[name] for name in names], abs=1e-8)
    errors = np.sqrt(np.diag(np.linalg.inv(found.information[0, :-1, :-1])))
    assert errors == pytest.approx([expected[f"se_{name}"] for name in names], abs=1e-8)
    assert found.loglik[0] == pytest.approx(expected["loglik"])


def test_a_cycle_and_one_comparison_more_have_the_strengths_of_choix():
    vector = VECTORS["bt_choix_cycle_plus_one"]
    rows = [(f"q{n}", str(a), str(b), "A") for n, (a, b) in enumerate(vector["inputs"]["comparisons_winner_loser"][:3])]
    # The fourth is given the other way round: who stands first must not matter.
    winner, loser = vector["inputs"]["comparisons_winner_loser"][3]
    found = bradley_terry(frame_of([*rows, ("q3", str(loser), str(winner), "B")]), draws=0)["safety"]
    expected = vector["expected"]
    assert {name: s.value for name, s in found.systems.items()} == pytest.approx(
        {str(n): expected[f"item{n}"] for n in range(3)}, abs=1e-8
    )
    assert "no tie" in found.ties.reason


def test_davidsons_likelihood_is_at_its_maximum():
    rng = np.random.default_rng(4)
    wins, ties = rng.integers(1, 20, (4, 4)), rng.integers(1, 9, (4, 4))
    counts, pairs = counts_of(wins, ties), pairs_of(4)

    def minus_loglik(params):
        strength, nu = np.exp([0, *params[:3]]), np.exp(params[3])
        total = 0.0
        for (i, j), outcomes in zip(pairs, counts[0], strict=True):
            root = nu * np.sqrt(strength[i] * strength[j])
            shares = np.array([strength[i], root, strength[j]]) / (strength[i] + strength[j] + root)
            total -= float(np.dot(outcomes, np.log(shares)))
        return total

    best = minimize(minus_loglik, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    found = fit(counts, pairs, 4)
    assert found.loglik[0] == pytest.approx(-best.fun)
    assert [*found.strengths[0, 1:], found.log_nu[0]] == pytest.approx(best.x, abs=1e-4)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_without_ties_it_is_the_logistic_regression_of_wins(seed):
    wins = np.random.default_rng(seed).integers(1, 30, (4, 4))
    pairs = pairs_of(4)
    design = np.zeros((len(pairs), 4))
    design[np.arange(len(pairs)), pairs[:, 0]], design[np.arange(len(pairs)), pairs[:, 1]] = 1, -1
    outcomes = np.array([[wins[i, j], wins[j, i]] for i, j in pairs])
    expected = sm.GLM(outcomes, design[:, 1:], family=sm.families.Binomial()).fit().params
    assert fit(counts_of(wins), pairs, 4).strengths[0, 1:] == pytest.approx(expected, abs=1e-6)


def test_many_sets_at_once_are_each_on_its_own():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 12, (40, 3, 3)).astype(float)
    together = fit(counts, pairs_of(3), 3)
    for number in range(40):
        alone = fit(counts[[number]], pairs_of(3), 3)
        assert together.strengths[number] == pytest.approx(alone.strengths[0], abs=1e-6, nan_ok=True)


def test_the_interval_holds_the_truth_and_n_counts_comparisons():
    strengths = {"base": 0.0, "dpo": 0.6, "modpo": 1.2}
    found = bradley_terry(drawn(strengths, 0.8, prompts=400), draws=300)["safety"]
    for name, statistic in found.systems.items():
        assert statistic.low - 0.1 < strengths[name] - 0.6 < statistic.high + 0.1
        assert statistic.n == 800
    assert found.ties.value == pytest.approx(0.8 / 2.8, abs=0.05)
    assert found.ties.n == 1200


def test_naming_the_systems_the_other_way_round_changes_nothing():
    frame = drawn({"base": 0.0, "dpo": 0.5, "modpo": 0.9}, 0.5)
    turned = frame.rename(columns={"system_a": "system_b", "system_b": "system_a"})
    turned = turned.assign(label=turned["label"].map({"A": "B", "tie": "tie", "B": "A"}))
    plain, other = (bradley_terry(one, draws=100)["safety"].as_dict() for one in (frame, turned))
    assert sorted(plain["systems"]) == sorted(other["systems"])
    for name, statistic in plain["systems"].items():
        assert other["systems"][name] == pytest.approx(statistic)
    assert other["ties"] == pytest.approx(plain["ties"])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("q1", "a", "b", "A"), ("q2", "a", "b", "A")], "^a won every comparison"),
        ([("q1", "a", "b", "A"), ("q2", "a", "b", "B"), ("q3", "a", "c", "A"), ("q4", "b", "c", "A")], "^a, b won"),
        (
            [("q1", "a", "b", "A"), ("q2", "a", "b", "B"), ("q3", "c", "d", "A"), ("q4", "c", "d", "B")],
            "^c, d met none",
        ),
        ([("q1", "a", "b", "tie")], "every comparison is a tie"),
        ([("q1", "a", "b", "A"), ("q2", "a", "b", "tie")], "wins and ties, and none has wins and losses"),
    ],
)
def test_strengths_without_a_finite_estimate_say_why(rows, reason):
    found = bradley_terry(frame_of(rows), draws=20)["safety"]
    for statistic in found.systems.values():
        assert statistic.value is None
        with pytest.raises(ValueError, match=reason):
            raise ValueError(statistic.reason)


def test_a_frame_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="A, tie or B"):
        bradley_terry(frame_of([("q1", "a", "b", "left")]))


def against(wins, losses, first, second, start):
    return [(f"q{start + n}", first, second, "A" if n < wins else "B") for n in range(wins + losses)]


def test_strengths_that_many_resamples_leave_without_a_maximum_have_no_interval():
    rows = [*against(19, 1, "x", "y", 0), *against(20, 0, "x", "z", 20), *against(10, 10, "y", "z", 40)]
    x = bradley_terry(frame_of(rows), draws=400)["safety"].systems["x"]
    assert x.value == pytest.approx(2.44, abs=0.01)
    assert x.low is None
    assert re.fullmatch(r"no interval: [34]\d % of the resamples leave it undefined", x.reason)


def test_a_resample_without_ties_counts_as_a_chance_of_none():
    rows = [*against(10, 11, "x", "y", 0), ("q21", "x", "y", "tie")]
    ties = bradley_terry(frame_of(rows), draws=400)["safety"].ties
    assert ties.low == 0 < ties.value < ties.high
