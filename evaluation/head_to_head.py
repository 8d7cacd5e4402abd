"""All systems against one another, as one judge sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from annotation.errors import InputError, StudyError
from annotation.models import Comparison, Criterion, Study, System
from evaluation.judging import judged_criteria, verdicts_by
from evaluation.labels import labels_of
from evaluation.models import Judge
from evaluation.statistics import Statistic
from evaluation.voting import label, learned_from_simulation
from evaluation.win_rates import PairOutcome, pair_outcomes, win_rates


@dataclass(frozen=True)
class HeadToHead:
    """Win rates and pair outcomes by a judge; `incomplete` counts comparisons it has not judged in both orders."""

    judge: Judge
    systems: Sequence[str]
    criteria: Sequence[Criterion]
    win_rates: dict[str, dict[str, Statistic]]
    pairs: Sequence[PairOutcome]
    comparisons: int
    incomplete: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "judge": self.judge.rater.name,
            "toy_judge": self.judge.is_toy,
            "learned_from_simulation": learned_from_simulation(self.judge),
            "systems": list(self.systems),
            "criteria": [criterion.key for criterion in self.criteria],
            "win_rates": {
                system: {key: rate.as_dict() for key, rate in rates.items()} for system, rates in self.win_rates.items()
            },
            "pairs": [pair.as_dict() for pair in self.pairs],
            "comparisons": self.comparisons,
            "incomplete": self.incomplete,
        }

    def table(self) -> str:
        """Win rates, a row a system and a column a criterion, and below them each pair's outcome."""
        wide = pd.DataFrame(
            {
                criterion.name: [str(self.win_rates[system][criterion.key]) for system in self.systems]
                for criterion in self.criteria
            },
            index=pd.Index(self.systems, name="win rate"),
        )
        pairs = pd.DataFrame(
            {
                "A": pair.system_a,
                "B": pair.system_b,
                "criterion": pair.criterion,
                "A wins": str(pair.wins),
                "ties": str(pair.ties),
                "B wins": str(pair.losses),
                "n": pair.prompts,
                "McNemar p": f"{pair.mcnemar_p:.2g}",
            }
            for pair in self.pairs
        )
        note = f"Judge: {label(self.judge)}. {self.comparisons} comparisons, each in both orders; 95 % intervals."
        if self.incomplete:
            note += f" {self.incomplete} more are not fully judged and left out."
        return "\n\n".join([note, wide.to_string(), pairs.to_string(index=False)])


def judge_named(study: Study, name: str) -> Judge:
    """The study's judge of that name.

    Raises:
        InputError: there is none; the message says how to set one up.
    """
    judge = Judge.objects.select_related("rater__study").filter(rater__study=study, rater__name=name).first()
    if judge is None:
        known = ", ".join(Judge.objects.filter(rater__study=study).values_list("rater__name", flat=True)) or "none yet"
        raise InputError(f"--judge {name}: there is no such judge (there are: {known}): set it up with manage.py judge")
    return judge


def answering_systems(study: Study, split: str) -> list[str]:
    """Names of the systems with a response to a prompt of the split."""
    found = System.objects.filter(study=study, responses__prompt__split=split).distinct().order_by("pk")
    return list(found.values_list("name", flat=True))


def head_to_head(judge: Judge, comparisons: Sequence[Comparison]) -> HeadToHead:
    """What the judge's votes on the comparisons come to.

    Raises:
        StudyError: the judge has judged none of them in both orders.
    """
    frame = labels_of(verdicts_by(judge, comparisons))
    if frame.empty:
        raise StudyError(f"{label(judge)} has judged none of these comparisons in both orders yet")
    judged = frame["item"].nunique()
    rates = win_rates(frame)
    return HeadToHead(
        judge=judge,
        systems=list(rates),
        criteria=judged_criteria(judge),
        win_rates=rates,
        pairs=pair_outcomes(frame),
        comparisons=judged,
        incomplete=len(comparisons) - judged,
    )
