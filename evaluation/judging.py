"""What all judges share: who they are, what they still have to see, and how their votes are kept.

A judge sees every comparison twice, the second time with the sides swapped. Its assignments are stored before it
votes, and each vote closes one of them in one transaction, so a run killed at any moment goes on where it stopped.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from annotation.comparisons import create_comparisons, system_named
from annotation.errors import InputError, StudyError
from annotation.models import (
    Assignment,
    Choice,
    Comparison,
    Criterion,
    Rater,
    RaterKind,
    Split,
    Study,
    StudyStatus,
    System,
    Verdict,
)
from evaluation.labels import judge_checks, verdicts_of
from evaluation.models import Judge, JudgeKind, JudgeReply
from evaluation.statistics import Statistic, undefined
from training.models import Run

TEXTS = ("response_a__prompt", "response_a__system", "response_b__prompt", "response_b__system")


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """Everything that makes a judge's opinions what they are; fixed from the judge's first run on."""

    name: str
    kind: JudgeKind
    config: Mapping[str, Any]
    model: str = ""
    endpoint: str = ""
    is_toy: bool = False
    runs: Sequence[Run] = ()


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A judge's verdicts on one assignment, with the reply they were read from."""

    assignment: Assignment
    choices: Mapping[Criterion, Choice]
    text: str
    seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def chosen_comparisons(study: Study, names: Sequence[str] | None, *, split: str = Split.TEST) -> list[Comparison]:
    """The comparisons of all pairs of the named systems on the split's prompts, made where missing; without names all
    comparisons that the study has, but for the pairs that clinicians practise on.

    Raises:
        InputError: a name is unknown, fewer than two are given, or two systems share no answered prompt.
        StudyError: there is nothing to compare.
    """
    if names is None:
        found = study.comparisons.filter(calibration=False)
    else:
        found = _comparisons_among(study, [system_named(study, name) for name in dict.fromkeys(names)], Split(split))
    comparisons = list(found.select_related(*TEXTS).order_by("pk"))
    if not comparisons:
        raise StudyError(f"study {study.slug} has no comparisons yet: name the systems to compare with --systems")
    return comparisons


def _comparisons_among(study: Study, systems: Sequence[System], split: Split) -> QuerySet[Comparison]:
    if len(systems) < 2:
        raise InputError("--systems: name at least two systems to compare")
    if study.status != StudyStatus.LOCKED:
        with transaction.atomic():
            for first, second in itertools.combinations(systems, 2):
                create_comparisons(study, first, second, split=split)
    return study.comparisons.filter(
        response_a__system__in=systems, response_b__system__in=systems, response_a__prompt__split=split
    )


def ensure_judge(study: Study, spec: JudgeSpec) -> Judge:
    """The study's judge of that name, made now or found as it was. The endpoint alone may move between runs.

    Raises:
        StudyError: the name belongs to another rater, or to a judge with another model, config or runs.
    """
    study.require_unlocked()
    rater = study.raters.filter(name=spec.name).select_related("judge").first()
    if rater is None:
        return _create_judge(study, spec)
    if not hasattr(rater, "judge"):
        raise StudyError(f"--name {spec.name}: a {rater.get_kind_display().lower()} has that name: choose another")
    judge = rater.judge
    changed = _differences(judge, spec)
    if changed:
        raise StudyError(
            f"--name {spec.name}: this judge was set up with another {', '.join(changed)}: "
            "give the same as before, or the new judge a name of its own"
        )
    Judge.objects.filter(pk=judge.pk).update(endpoint=spec.endpoint)
    judge.endpoint = spec.endpoint
    return judge


def _create_judge(study: Study, spec: JudgeSpec) -> Judge:
    with transaction.atomic():
        rater = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name=spec.name)
        judge = Judge.objects.create(
            rater=rater,
            kind=spec.kind,
            endpoint=spec.endpoint,
            model=spec.model,
            config=dict(spec.config),
            is_toy=spec.is_toy,
        )
        judge.runs.set(spec.runs)
    return judge


def _differences(judge: Judge, spec: JudgeSpec) -> list[str]:
    pairs = {
        "kind": (judge.kind, spec.kind),
        "model": (judge.model, spec.model),
        "--toy": (judge.is_toy, spec.is_toy),
        "--run": ({run.pk for run in judge.runs.all()}, {run.pk for run in spec.runs}),
        **{key: (judge.config.get(key), spec.config.get(key)) for key in sorted({*judge.config, *spec.config})},
    }
    return [name for name, (old, new) in pairs.items() if old != new]


def judged_criteria(judge: Judge) -> list[Criterion]:
    """The criteria the judge votes on, in the study's order."""
    return list(judge.rater.study.criteria.filter(key__in=judge.config["criteria"]))


def plan(judge: Judge, comparisons: Sequence[Comparison], *, limit: int | None = None) -> list[Assignment]:
    """The judge's open assignments on the comparisons, both presentations of each; missing ones are stored first.

    Which side comes first is drawn by the judge's seed and the comparison, so it does not depend on what else is
    judged. `limit` bounds the number of assignments returned.
    """
    rater = judge.rater
    with transaction.atomic():
        Rater.objects.select_for_update().get(pk=rater.pk)
        seen = set(rater.assignments.values_list("comparison", "presentation"))
        position = rater.assignments.aggregate(last=Max("position"))["last"] or 0
        missing = [
            Assignment(
                comparison=comparison,
                rater=rater,
                presentation=presentation,
                a_on_left=_a_first(judge, comparison) == (presentation == 1),
            )
            for comparison in comparisons
            for presentation in (1, 2)
            if (comparison.pk, presentation) not in seen
        ]
        for assignment in missing:
            position += 1
            assignment.position = position
        Assignment.objects.bulk_create(missing, batch_size=500)
    wanted = {comparison.pk for comparison in comparisons}
    pending = rater.assignments.pending().select_related(*(f"comparison__{path}" for path in TEXTS))
    return [assignment for assignment in pending if assignment.comparison_id in wanted][:limit]


def _a_first(judge: Judge, comparison: Comparison) -> bool:
    return random.Random(f"{judge.config['seed']} {comparison.pk}").random() < 0.5  # noqa: S311


def store(votes: Sequence[Vote], *, study: Study) -> int:
    """How many of the votes were new; they are stored with all that belongs to them in one transaction.

    Raises:
        StudyError: the study is locked.
    """
    with transaction.atomic():
        study.require_unlocked()
        # Locked while we write: of two runs of one judge, whoever comes later finds nothing open and stores nothing.
        offered = Assignment.objects.filter(pk__in=[vote.assignment.pk for vote in votes])
        still_open = set(offered.pending().select_for_update().values_list("pk", flat=True))
        new = [vote for vote in votes if vote.assignment.pk in still_open]
        Verdict.objects.bulk_create(
            Verdict(assignment=vote.assignment, criterion=criterion, choice=choice)
            for vote in new
            for criterion, choice in vote.choices.items()
        )
        JudgeReply.objects.bulk_create(
            JudgeReply(
                assignment=vote.assignment,
                text=vote.text,
                seconds=vote.seconds,
                prompt_tokens=vote.prompt_tokens,
                completion_tokens=vote.completion_tokens,
            )
            for vote in new
        )
        offered.filter(pk__in=still_open).update(submitted_at=timezone.now())
    return len(new)


def votes_on(judge: Judge, comparisons: Sequence[Comparison]) -> int:
    """How many votes (assignments submitted) the judge has on the comparisons."""
    wanted = {comparison.pk for comparison in comparisons}
    submitted = judge.rater.assignments.submitted().values_list("comparison", flat=True)
    return sum(comparison in wanted for comparison in submitted)


def verdicts_by(judge: Judge, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The judge's verdicts on the comparisons, one row a presentation and criterion (see evaluation.labels)."""
    verdicts = verdicts_of(judge.rater.study)
    wanted = [comparison.pk for comparison in comparisons]
    return verdicts[(verdicts["rater"] == judge.rater.name) & verdicts["item"].isin(wanted)]


def swap_consistency(judge: Judge, comparisons: Sequence[Comparison]) -> Statistic:
    """Share of the judge's comparisons, criterion by criterion, that it gave to the same system in both orders."""
    checks = judge_checks(verdicts_by(judge, comparisons))
    if judge.rater.name not in checks:
        return undefined("no comparison was judged in both orders")
    return checks[judge.rater.name].swap_consistency
