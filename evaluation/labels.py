"""A study's verdicts as frames of labels in system order: A, tie or B, where A is the comparison's first system."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from django.db.models import QuerySet

from annotation.models import Assignment, Choice, Comparison, RaterKind, Study, Verdict
from evaluation.rater_profiles import cluster_shares, left_in_both_orders
from evaluation.ratings import HUMAN, JUDGE
from evaluation.statistics import Statistic

GIVEN = {
    "assignment": "pk",
    "comparison": "comparison_id",
    "rater": "rater__name",
    "kind": "rater__kind",
    "simulated": "rater__simulated",
    "toy": "rater__judge__is_toy",
    "presentation": "presentation",
    "position": "position",
    "a_on_left": "a_on_left",
    "opened_at": "opened_at",
    "submitted_at": "submitted_at",
}
COMPARED = {
    "item": "pk",
    "stratum": "stratum",
    "prompt": "response_a__prompt__key",
    "system_a": "response_a__system__name",
    "system_b": "response_b__system__name",
}
VOTE = ["item", "rater", "criterion"]


@dataclass(frozen=True)
class JudgeCheck:
    """What a judge's two looks at each comparison say about it. Intervals: a bootstrap over prompts.

    Attributes:
        position_bias: share of left among the verdicts that chose a side, as `left_in_both_orders`; 0.5 is no bias.
        swap_consistency: share of comparisons, criterion by criterion, with the same winner in both orders.
        inconsistent: how many named another winner, and so count as ties.
    """

    position_bias: Statistic
    swap_consistency: Statistic
    inconsistent: int


def verdicts_of(study: Study, *, cannot: bool = False) -> pd.DataFrame:
    """Every submitted verdict of clinicians and judges who have not withdrawn, one row a presentation. Verdicts on one
    prompt depend on one another, whichever systems were compared: the prompt is their `cluster`.

    Calibration pairs are practice and left out, and so is what a clinician could not judge unless `cannot`: such a
    verdict has no label. What repeats from verdict to verdict is read once: three queries, whatever the size.
    """
    given = Assignment.objects.submitted().filter(
        comparison__study=study,
        comparison__calibration=False,
        rater__withdrawn_at__isnull=True,
        rater__kind__in=[RaterKind.CLINICIAN, RaterKind.JUDGE],
    )
    assignments = frame_of(given, GIVEN, order="pk")
    compared = frame_of(Comparison.objects.filter(study=study, calibration=False), COMPARED, order="pk")
    verdicts = Verdict.objects.filter(assignment__in=given)
    wanted = verdicts if cannot else verdicts.exclude(choice=Choice.CANNOT)
    fields = {"assignment": "assignment_id", "criterion": "criterion__key", "choice": "choice"}
    frame = frame_of(wanted, {**fields, "order": "criterion__position"}, order="assignment_id")
    # Somebody may have submitted since the first query.
    frame = frame[frame["assignment"].isin(assignments["assignment"])].reset_index(drop=True)
    a = assignments.iloc[np.searchsorted(assignments["assignment"], frame["assignment"])].reset_index(drop=True)
    c = compared.iloc[np.searchsorted(compared["item"], a["comparison"])].reset_index(drop=True)
    a_chosen = (frame["choice"] == Choice.LEFT) == a["a_on_left"].astype(bool)
    chosen = np.where(frame["choice"] == Choice.TIE, "tie", np.where(a_chosen, "A", "B"))
    label = np.where(frame["choice"] == Choice.CANNOT, None, chosen)  # type: ignore[call-overload]  # Object arrays.
    seconds = (
        pd.to_datetime(a["submitted_at"], utc=True) - pd.to_datetime(a["opened_at"], utc=True)
    ).dt.total_seconds()
    columns = c.assign(
        **{key: a[key] for key in ("rater", "simulated", "presentation", "position", "assignment")},
        toy=a["toy"].fillna(False).astype(bool),
        rater_kind=np.where(a["kind"] == RaterKind.JUDGE, JUDGE, HUMAN),
        cluster=c["prompt"],
        pair=c["system_a"] + "|" + c["system_b"],
        seconds=seconds,
        criterion=frame["criterion"],
        choice=frame["choice"],
        label=label,
    )
    place = np.lexsort((a["presentation"], frame["order"], a["assignment"], a["comparison"]))
    return columns.iloc[place].reset_index(drop=True)


def frame_of(rows: "QuerySet[Any]", fields: dict[str, str], *, order: str) -> pd.DataFrame:
    return pd.DataFrame.from_records(list(rows.order_by(order).values_list(*fields.values())), columns=list(fields))


def labels_of(verdicts: pd.DataFrame) -> pd.DataFrame:
    """One label an item, rater and criterion. Of a person's the first stands; a judge's two presentations count as one:
    where they name different winners, a tie. What a judge saw in one order only is left out, for the place may have
    decided."""
    judged = verdicts["rater_kind"] == JUDGE
    looks = verdicts[judged]
    winners = looks.groupby(VOTE, sort=False)["label"]
    combined = looks.assign(label=looks["label"].where(winners.transform("nunique") == 1, "tie"))
    combined = combined[winners.transform("size") == 2].drop_duplicates(VOTE)
    people = verdicts[~judged & (verdicts["presentation"] == 1)]
    return pd.concat([people, combined]).sort_index().reset_index(drop=True)


def judge_checks(verdicts: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, JudgeCheck]:
    """{judge: position bias and swap consistency}."""
    judged = verdicts[verdicts["rater_kind"] == JUDGE]
    return {str(name): judge_check(rows, draws=draws, seed=seed) for name, rows in judged.groupby("rater", sort=True)}


def judge_check(rows: pd.DataFrame, *, draws: int, seed: int) -> JudgeCheck:
    units = ["item", "criterion"]
    looks = rows.groupby(units, sort=False)["label"].agg(["size", "nunique"]).rename(columns={"nunique": "winners"})
    rows = rows.join(looks, on=units).reset_index(drop=True)
    twice = (rows["size"] == 2) & ~rows.duplicated(units)
    same = rows["winners"] == 1
    counted = {"left": left_in_both_orders(rows), "same": [(same, twice)]}
    found = cluster_shares(rows["cluster"], counted, draws=draws, seed=seed)
    return JudgeCheck(found["left"], found["same"], inconsistent=int((twice & ~same).sum()))
