"""A study's verdicts as frames of labels in system order: A, tie or B, where A is the comparison's first system."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from annotation.models import Choice, RaterKind, Study, Verdict
from evaluation.bootstrap import FloatArray, bootstrap, ratio, summarise
from evaluation.ratings import HUMAN, JUDGE
from evaluation.statistics import Statistic

FIELDS = {
    "item": "assignment__comparison_id",
    "prompt": "assignment__comparison__response_a__prompt__key",
    "system_a": "assignment__comparison__response_a__system__name",
    "system_b": "assignment__comparison__response_b__system__name",
    "rater": "assignment__rater__name",
    "kind": "assignment__rater__kind",
    "simulated": "assignment__rater__simulated",
    "toy": "assignment__rater__judge__is_toy",
    "presentation": "assignment__presentation",
    "a_on_left": "assignment__a_on_left",
    "criterion": "criterion__key",
    "choice": "choice",
}
VOTE = ["item", "rater", "criterion"]


@dataclass(frozen=True)
class JudgeCheck:
    """What a judge's two looks at each comparison say about it. Intervals: a bootstrap over comparisons.

    Attributes:
        position_bias: share of left among the verdicts that chose a side; 0.5 is no bias.
        swap_consistency: share of comparisons, criterion by criterion, with the same winner in both orders.
        inconsistent: how many named another winner, and so count as ties.
    """

    position_bias: Statistic
    swap_consistency: Statistic
    inconsistent: int


def verdicts_of(study: Study) -> pd.DataFrame:
    """Every submitted verdict of clinicians and judges who have not withdrawn, one row a presentation, in one query.

    Calibration pairs are practice and left out, as is what a clinician could not judge.
    """
    verdicts = (
        Verdict.objects.filter(
            assignment__comparison__study=study,
            assignment__comparison__calibration=False,
            assignment__submitted_at__isnull=False,
            assignment__rater__withdrawn_at__isnull=True,
            assignment__rater__kind__in=[RaterKind.CLINICIAN, RaterKind.JUDGE],
        )
        .exclude(choice=Choice.CANNOT)
        .order_by("assignment__comparison", "assignment__rater", "criterion__position", "assignment__presentation")
        .values_list(*FIELDS.values())
    )
    frame = pd.DataFrame.from_records(list(verdicts), columns=list(FIELDS))
    a_chosen = (frame["choice"] == Choice.LEFT) == frame["a_on_left"].astype(bool)
    label = np.where(frame["choice"] == Choice.TIE, "tie", np.where(a_chosen, "A", "B"))
    rater_kind = np.where(frame["kind"] == RaterKind.JUDGE, JUDGE, HUMAN)
    toy = frame["toy"].map(lambda flag: flag is True).astype(bool)
    return frame.assign(label=label, rater_kind=rater_kind, toy=toy).drop(columns=["kind", "a_on_left"])


def labels_of(verdicts: pd.DataFrame) -> pd.DataFrame:
    """One label an item, rater and criterion. Of a person's the first stands; a judge's two presentations count as one:
    where they name different winners, a tie. What a judge saw in one order only is left out, for the place may have
    decided."""
    verdicts = verdicts[(verdicts["rater_kind"] == JUDGE) | (verdicts["presentation"] == 1)]
    winners = verdicts.groupby(VOTE, sort=False)["label"]
    whole = (verdicts["rater_kind"] == HUMAN) | (winners.transform("size") == 2)
    combined = verdicts["label"].where(winners.transform("nunique") == 1, "tie")
    return verdicts.assign(label=combined)[whole].drop_duplicates(VOTE, ignore_index=True)


def judge_checks(verdicts: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, JudgeCheck]:
    """{judge: position bias and swap consistency}."""
    judged = verdicts[verdicts["rater_kind"] == JUDGE]
    return {str(name): judge_check(rows, draws=draws, seed=seed) for name, rows in judged.groupby("rater", sort=True)}


def judge_check(rows: pd.DataFrame, *, draws: int, seed: int) -> JudgeCheck:
    sided = rows[rows["choice"] != Choice.TIE]
    looks = rows.groupby(["item", "criterion"], sort=False)["label"].agg(["size", "nunique"]).reset_index()
    twice = looks[looks["size"] == 2]
    same = twice["nunique"] == 1
    return JudgeCheck(
        position_bias=clustered_share(
            sided["choice"] == Choice.LEFT, sided["item"], "no verdict chose a side", draws=draws, seed=seed
        ),
        swap_consistency=clustered_share(
            same, twice["item"], "no comparison was judged in both orders", draws=draws, seed=seed
        ),
        inconsistent=int((~same).sum()),
    )


def clustered_share(
    hits: "pd.Series[bool]", items: "pd.Series[int]", reason: str, *, draws: int, seed: int
) -> Statistic:
    """Share of hits; n counts them all, the interval resamples the items they belong to."""
    clusters = pd.factorize(items, sort=True)[0]
    values = hits.to_numpy(dtype=np.float64)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        return {"share": ratio(weights @ values, weights.sum(axis=1))}

    shares = bootstrap(compute, clusters, draws=draws, seed=seed)["share"]
    return summarise(shares, n=len(values), clusters=len(set(clusters)), reason=reason)
