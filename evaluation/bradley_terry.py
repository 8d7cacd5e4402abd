"""Strengths of systems from who won against whom, ties included (Davidson 1970).

Davidson's extension of Bradley and Terry (1952): with strengths pi and nu >= 0, i beats, ties with and loses to j in
the proportions pi_i : nu sqrt(pi_i pi_j) : pi_j. Without any tie it is Bradley and Terry's own model. It was preferred
to Rao and Kupper's (1967) since it is log-linear: the likelihood is concave, and Newton's method finds its maximum.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from evaluation.bootstrap import FloatArray, IntArray, Part, resampled
from evaluation.ratings import BoolArray
from evaluation.statistics import Statistic
from evaluation.win_rates import LABELS, checked

STEPS = 60
# Log strengths this far apart are on their way to infinity.
FAR = 20.0
SMALL_STEP = 1e-10
NO_TIES = "there is no tie, so strengths are those of the model without them"


@dataclass(frozen=True)
class Strengths:
    """The strengths of systems on one criterion.

    Attributes:
        systems: log strength of each, their mean being 0: exp of a difference is the odds of a win over a loss. n
            counts the system's comparisons.
        ties: chance of a tie between two systems of equal strength, nu / (2 + nu). n counts all comparisons.
    """

    systems: dict[str, Statistic]
    ties: Statistic

    def as_dict(self) -> dict[str, Any]:
        systems = {name: statistic.as_dict() for name, statistic in self.systems.items()}
        return {"systems": systems, "ties": self.ties.as_dict()}


@dataclass(frozen=True)
class Fit:
    """Maximum likelihood for each of many sets of counts; NaN where it has no finite maximum.

    Attributes:
        strengths: log strengths, the first system's being 0. Shape: (sets, systems)
        log_nu: minus infinity where there is no tie. Shape: (sets,)
        information: of the strengths but the first, then log nu (a 1 of its own where there is no tie). Shape: (sets,
            systems, systems)
        loglik: without multinomial coefficients. Shape: (sets,)
    """

    strengths: FloatArray
    log_nu: FloatArray
    information: FloatArray
    loglik: FloatArray


def bradley_terry(frame: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, Strengths]:
    """{criterion: strengths}. The interval is a bootstrap over prompts, which carry all their comparisons and votes.

    Args:
        frame: as of `win_rates`, where a prompt, pair and criterion may stand more than once: a vote a row.

    Raises:
        ValueError: a column is missing or a label is unknown.
    """
    checked(frame)
    parts = frame.groupby("criterion", sort=False)
    return {str(criterion): criterion_strengths(rows, draws=draws, seed=seed) for criterion, rows in parts}


def criterion_strengths(rows: pd.DataFrame, *, draws: int, seed: int) -> Strengths:
    names = [str(name) for name in pd.unique(pd.concat([rows["system_a"], rows["system_b"]]))]
    pairs = np.array(list(combinations(range(len(names)), 2))).reshape(-1, 2)
    outcomes = outcomes_by_prompt(rows, names, pairs)
    total = outcomes.sum(axis=1).reshape(len(pairs), 3)
    met = [int(total[(pairs == system).any(axis=1)].sum()) for system in range(len(names))]
    reason = why_undefined(total, pairs, names)
    ties_reason = reason if total[:, 1].any() else NO_TIES

    def compute(sums: FloatArray) -> list[FloatArray]:
        counts = sums.T.reshape(-1, len(pairs), 3)
        found = fit(counts, pairs, len(names))
        nu = np.exp(found.log_nu)
        ties = nu / (2 + nu)
        # A share of no tie at all is an estimate in a resample, not in the data.
        ties[:1][~counts[:1, :, 1].any(axis=1)] = np.nan
        return [(found.strengths - found.strengths.mean(axis=1, keepdims=True)).T, ties]

    part = Part(
        features=outcomes,
        compute=compute,
        paths=[*((name,) for name in names), ("ties",)],
        n=[*met, int(total.sum())],
        reasons=[reason] * len(names) + [ties_reason],
        # A resample in which a system wins everything has no finite strengths. Left out, it would take the high end of
        # an interval with it.
        needed=0.975,
    )
    found = [statistic for _, statistic in resampled([part], items=outcomes.shape[1], draws=draws, seed=seed)]
    return Strengths(dict(zip(names, found, strict=False)), found[-1])


def outcomes_by_prompt(rows: pd.DataFrame, names: list[str], pairs: IntArray) -> FloatArray:
    """Wins of the first, ties, wins of the second of each pair. Shape: (pairs x 3, prompts)"""
    clusters, prompts = pd.factorize(rows["cluster" if "cluster" in rows else "prompt"], sort=True)
    place = np.full((len(names), len(names)), -1)
    place[pairs[:, 0], pairs[:, 1]] = np.arange(len(pairs))
    index = pd.Index(names)
    first, second = (index.get_indexer(pd.Index(rows[column].astype(str))) for column in ("system_a", "system_b"))
    outcome = pd.Index(LABELS).get_indexer(pd.Index(rows["label"]))
    turned = first > second
    outcome = np.where(turned, 2 - outcome, outcome)
    pair = place[np.where(turned, second, first), np.where(turned, first, second)]
    cells = (pair * 3 + outcome) * len(prompts) + clusters
    counts = np.bincount(cells, minlength=3 * len(pairs) * len(prompts))
    return counts.reshape(3 * len(pairs), len(prompts)).astype(np.float64)


def fit(counts: FloatArray, pairs: IntArray, systems: int) -> Fit:
    """By Newton's method, of all sets at once.

    Args:
        counts: wins of the first, ties, wins of the second of each pair. Shape: (sets, pairs, 3)
        pairs: the two systems of each. Shape: (pairs, 2)
    """
    design = np.zeros((len(pairs), systems))
    design[np.arange(len(pairs)), pairs[:, 0]] = 1
    design[np.arange(len(pairs)), pairs[:, 1]] = -1
    design = design[:, 1:]
    tied: BoolArray = np.asarray(counts[:, :, 1].any(axis=1))
    params = np.zeros((len(counts), systems))
    for _ in range(STEPS):
        gradient, information, _ = derivatives(params, counts, design, tied)
        # What has no maximum may have no inverse either: a trace of the identity keeps the product defined.
        step = np.linalg.solve(information + 1e-12 * np.eye(systems), gradient[:, :, None])[:, :, 0]
        params += np.clip(step, -1, 1)
        if np.abs(step).max(initial=0) < SMALL_STEP:
            break
    _, information, loglik = derivatives(params, counts, design, tied)
    settled = (np.abs(step) < 1e-6).all(axis=1) & (np.abs(params) < FAR).all(axis=1)
    lost = ~(settled & strongly_connected(counts, pairs, systems) & counts[:, :, [0, 2]].any(axis=(1, 2)))
    strengths = np.hstack([np.zeros((len(counts), 1)), params[:, :-1]])
    log_nu = np.where(tied, params[:, -1], -np.inf)
    for array in (strengths, log_nu, loglik):
        array[lost] = np.nan
    return Fit(strengths, log_nu, information, loglik)


def derivatives(
    params: FloatArray, counts: FloatArray, design: FloatArray, tied: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradient, information and log-likelihood at log strengths (all but the first) and log nu, the last parameter."""
    gap = params[:, :-1] @ design.T
    logits = np.stack([gap / 2, np.broadcast_to(params[:, -1:], gap.shape), -gap / 2], axis=2)
    logits[~tied, :, 1] = -np.inf
    logs = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
    win, tie, loss = np.moveaxis(np.exp(logs), 2, 0)
    n = counts.sum(axis=2)
    lean = (win - loss) / 2
    scores = (counts[:, :, 0] - counts[:, :, 2]) / 2 - n * lean
    gradient = np.hstack([scores @ design, (counts[:, :, 1] - n * tie).sum(axis=1, keepdims=True)])
    information = np.empty((len(params), params.shape[1], params.shape[1]))
    information[:, :-1, :-1] = np.einsum("rp,pi,pj->rij", n * ((win + loss) / 4 - lean**2), design, design)
    information[:, :-1, -1] = information[:, -1, :-1] = -(n * lean * tie) @ design
    information[:, -1, -1] = np.where(tied, (n * tie * (1 - tie)).sum(axis=1), 1.0)
    loglik = np.where(counts > 0, counts * np.where(counts > 0, logs, 0.0), 0.0).sum(axis=(1, 2))
    return gradient, information, loglik


def strongly_connected(counts: FloatArray, pairs: IntArray, systems: int) -> BoolArray:
    """Whether from each system a way leads to each other over wins and ties (Ford 1957). Shape: (sets,)"""
    reach = np.broadcast_to(np.eye(systems, dtype=bool), (len(counts), systems, systems)).copy()
    reach[:, pairs[:, 0], pairs[:, 1]] = counts[:, :, :2].any(axis=2)
    reach[:, pairs[:, 1], pairs[:, 0]] = counts[:, :, 1:].any(axis=2)
    for _ in range(int(np.ceil(np.log2(max(systems, 2))))):
        reach = reach @ reach
    return np.asarray(reach.all(axis=(1, 2)))


def why_undefined(total: FloatArray, pairs: IntArray, names: list[str]) -> str:
    """The reason why these counts have no finite strengths, if they have none. Shape of the counts: (pairs, 3)"""
    beats = np.zeros((len(names), len(names)), dtype=bool)
    beats[pairs[:, 0], pairs[:, 1]] = total[:, :2].any(axis=1)
    beats[pairs[:, 1], pairs[:, 0]] = total[:, 1:].any(axis=1)
    groups, group = connected_components(beats, connection="weak")
    if groups > 1:
        return f"{listed(names, group == group[-1])} met none of the others, directly or through a third"
    if not total[:, [0, 2]].any():
        return "every comparison is a tie"
    groups, group = connected_components(beats, connection="strong")
    for number in range(groups if groups > 1 else 0):
        inside = group == number
        if not beats[~inside][:, inside].any():
            return f"{listed(names, inside)} won every comparison with the others: no finite strength is high enough"
    return "no finite strengths are the likeliest: some pairs have wins and ties, and none has wins and losses"


def listed(names: list[str], chosen: BoolArray) -> str:
    return ", ".join(name for name, own in zip(names, chosen, strict=True) if own)
