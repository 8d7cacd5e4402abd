"""Who wins against whom: pure functions of a frame of labels in system order.

A row of a frame holds prompt, system_a, system_b, criterion and label, which is A, tie or B.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluation.bootstrap import FloatArray, bootstrap, ratio, summarise
from evaluation.statistics import Statistic, wilson
from evaluation.symmetry import exact_mcnemar

LABELS = ("A", "tie", "B")
# Rewards nearer than this, in deviations over the training responses, are equal: read at another time, in a batch of
# other texts, a text's own reward differs by a millionth.
TIE_THRESHOLD = 1e-5
PAIR = ["prompt", "system_a", "system_b", "criterion"]


@dataclass(frozen=True)
class PairOutcome:
    """System A against system B on one criterion. `mcnemar_p` is the exact two-sided test of wins against losses;
    `ties` are no part of it."""

    system_a: str
    system_b: str
    criterion: str
    wins: Statistic
    ties: Statistic
    losses: Statistic
    prompts: int
    mcnemar_p: float | None = None

    def as_dict(self) -> dict[str, Any]:
        shares = {"wins": self.wins.as_dict(), "ties": self.ties.as_dict(), "losses": self.losses.as_dict()}
        return {**self.__dict__, **shares}


def majority(labels: Iterable[str]) -> str:
    """The label given most often; tie where two are level.

    Raises:
        ValueError: there is no label.
    """
    ranked = Counter(labels).most_common(2)
    if not ranked:
        raise ValueError("a majority needs at least one label")
    return "tie" if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def majorities(votes: pd.DataFrame) -> pd.DataFrame:
    """One row a prompt, pair and criterion with the majority of its votes (see `majority`)."""
    checked(votes)
    counts = votes.groupby(PAIR, observed=True)["label"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=list(LABELS), fill_value=0)
    table = counts.to_numpy()
    level = (table == table.max(axis=1, keepdims=True)).sum(axis=1) > 1
    winners = np.where(level, "tie", np.asarray(LABELS)[table.argmax(axis=1)])
    return counts.index.to_frame(index=False).assign(label=winners)


def win_rates(frame: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, dict[str, Statistic]]:
    """{system: {criterion: win rate}}: wins over the prompts compared, averaged over opponents. A tie is no win.

    The interval is a bootstrap over prompts, n the number of prompts. The frame holds majorities:
    one row a prompt, pair and criterion. Where prompts belong together, as one prompt answered under several seeds, a
    column `cluster` says so, and clusters are resampled and counted.

    Raises:
        ValueError: a column is missing, a label is unknown, or a prompt, pair and criterion stands twice.
    """
    checked_majorities(frame)
    systems = list(pd.unique(pd.concat([frame["system_a"], frame["system_b"]])))
    rates: dict[str, dict[str, Statistic]] = {system: {} for system in systems}
    for criterion, rows in frame.groupby("criterion", sort=False):
        for system, statistic in criterion_win_rates(rows, systems, draws=draws, seed=seed).items():
            rates[system][str(criterion)] = statistic
    return rates


def criterion_win_rates(rows: pd.DataFrame, systems: list[str], *, draws: int, seed: int) -> dict[str, Statistic]:
    """{system: win rate} of one criterion."""
    prompts, names = pd.factorize(rows["prompt"], sort=True)
    of_prompt = rows.drop_duplicates("prompt").sort_values("prompt")
    clusters = pd.factorize(of_prompt["cluster" if "cluster" in rows else "prompt"], sort=True)[0]
    index = pd.Index(systems)
    shape = (len(names), len(systems), len(systems))
    won, met = np.zeros(shape), np.zeros(shape)
    first, second = index.get_indexer(pd.Index(rows["system_a"])), index.get_indexer(pd.Index(rows["system_b"]))
    won[prompts, first, second] = rows["label"] == "A"
    won[prompts, second, first] = rows["label"] == "B"
    met[prompts, first, second] = met[prompts, second, first] = 1

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        pairs = ratio(np.tensordot(weights, won, 1), np.tensordot(weights, met, 1))
        opponents = (~np.isnan(pairs)).sum(axis=2).astype(np.float64)
        return {"rate": ratio(np.nansum(pairs, axis=2), opponents)}

    values = bootstrap(compute, clusters, draws=draws, seed=seed)["rate"]
    there = met.sum(axis=2) > 0
    compared = [len(set(clusters[there[:, column]])) for column in range(len(systems))]
    count, reason = len(set(clusters)), "it was compared with no other system"
    return {
        system: summarise(values[:, column], n=compared[column], clusters=count, reason=reason, share=True)
        for column, system in enumerate(systems)
    }


def pair_outcomes(frame: pd.DataFrame) -> list[PairOutcome]:
    """Wins, ties and losses of system A over the prompts, pair by pair and criterion by criterion, with Wilson
    intervals and the exact McNemar test. The frame holds majorities.

    Raises:
        ValueError: as `win_rates`.
    """
    checked_majorities(frame)
    outcomes = []
    for (first, second, criterion), rows in frame.groupby(["system_a", "system_b", "criterion"], sort=False):
        n = len(rows)
        wins, ties, losses = (int((rows["label"] == label).sum()) for label in LABELS)
        outcomes.append(
            PairOutcome(
                system_a=str(first),
                system_b=str(second),
                criterion=str(criterion),
                wins=wilson(wins, n),
                ties=wilson(ties, n),
                losses=wilson(losses, n),
                prompts=n,
                mcnemar_p=mcnemar_p(wins, losses),
            )
        )
    return outcomes


def verdict_outcomes(votes: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> list[PairOutcome]:
    """Shares of all verdicts for A, tie and B, pair by pair and criterion by criterion; several verdicts a prompt.

    Verdicts on one prompt are not independent: the interval is a bootstrap over prompts, and there is no McNemar test.
    n is the number of verdicts.
    """
    checked(votes)
    outcomes = []
    for (first, second, criterion), rows in votes.groupby(["system_a", "system_b", "criterion"], sort=False):
        prompts, names = pd.factorize(rows["prompt"], sort=True)
        hits = np.column_stack([rows["label"] == label for label in LABELS]).astype(np.float64)
        # Prompts are drawn whole, so what counts is the sum over each.
        by_prompt = np.zeros((len(names), len(LABELS)))
        np.add.at(by_prompt, prompts, hits)
        values = bootstrap(shares_of(by_prompt), np.arange(len(names)), draws=draws, seed=seed)["shares"]
        wins, ties, losses = (
            summarise(values[:, column], n=len(rows), clusters=len(names), reason="there is no verdict", share=True)
            for column in range(3)
        )
        outcomes.append(PairOutcome(str(first), str(second), str(criterion), wins, ties, losses, len(names)))
    return outcomes


def shares_of(hits: FloatArray) -> Any:
    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        sums = weights @ hits
        return {"shares": ratio(sums, sums.sum(axis=1, keepdims=True))}

    return compute


def mcnemar_p(wins: int, losses: int) -> float:
    """Exact two-sided McNemar test: the binomial test of the discordant prompts. 1 where there is none."""
    return float(exact_mcnemar(wins, losses))


def checked(frame: pd.DataFrame) -> None:
    missing = [column for column in [*PAIR, "label"] if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    strange = sorted(set(frame["label"].unique()) - set(LABELS), key=str)
    if strange:
        raise ValueError(f"a label is A, tie or B, not {strange[0]!r}")
    met = set(frame[["system_a", "system_b"]].drop_duplicates().itertuples(index=False, name=None))
    both = sorted((a, b) for a, b in met if (b, a) in met)
    if both:
        raise ValueError(f"{both[0][0]} and {both[0][1]} are compared in both orders: turn the labels to one")


def checked_majorities(frame: pd.DataFrame) -> None:
    checked(frame)
    doubled = frame[frame.duplicated(PAIR)]
    if len(doubled):
        row = doubled.iloc[0]
        raise ValueError(
            f"prompt {row['prompt']!r}, criterion {row['criterion']!r} stands twice: take majorities first"
        )
