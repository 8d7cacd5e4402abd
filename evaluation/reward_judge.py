"""Reward models as a judge: one a criterion, or one of several, the verdict by the difference of normalised scores.

A judge never marks its own homework. A run is refused as a judge of a system when
- it is among the runs the system came from, at any distance,
- it learned from a data set that one of those runs learned from, or
- it learned from prompts of the split on which the systems are compared.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotation.errors import InputError, StudyError
from annotation.models import Assignment, Choice, Comparison, Criterion, Study, System
from annotation.options import keyed
from evaluation.judging import Vote
from evaluation.win_rates import TIE_THRESHOLD
from training.models import PreferenceDataset, Run, RunKind
from training.runs import finished_run

# (folder of the run, (prompt, response) texts) -> {criterion: normalised scores, one a text}.
Scorer = Callable[[Path, Sequence[tuple[str, str]]], Mapping[str, Sequence[float]]]


def parse_runs(study: Study, pairs: Sequence[str]) -> dict[Criterion, Run]:
    """{criterion: run} from `criterion=run` pairs, in the study's order of criteria.

    Raises:
        InputError: a pair is malformed, a criterion is named twice, or there is no finished reward model of that name.
        StudyError: the study has no such criterion.
    """
    runs: dict[Criterion, Run] = {}
    for key, name in keyed("--run", pairs, "criterion=run").items():
        criterion = study.criterion(key)
        runs[criterion] = _reward_run(criterion, name)
    return dict(sorted(runs.items(), key=lambda item: item[0].position))


def _reward_run(criterion: Criterion, name: str) -> Run:
    run = finished_run(name, RunKind.REWARD_MODEL)
    if criterion.key not in run.learned_criteria:
        raise InputError(f"--run {criterion.key}={name}: that reward model learned {', '.join(run.learned_criteria)}")
    return run


def judge_config(runs: Mapping[Criterion, Run], *, seed: int, tie_threshold: float = TIE_THRESHOLD) -> dict[str, Any]:
    """What fixes the judge's opinions, beside its runs."""
    return {
        "criteria": [criterion.key for criterion in runs],
        "runs": {criterion.key: run.name for criterion, run in runs.items()},
        "seed": seed,
        "tie_threshold": tie_threshold,
    }


def require_stranger(runs: Iterable[Run], comparisons: Sequence[Comparison]) -> None:
    """Raise StudyError if one of the runs would mark its own homework (see above)."""
    systems = {r.system_id: r.system for c in comparisons for r in (c.response_a, c.response_b)}
    splits = {comparison.response_a.prompt.split for comparison in comparisons}
    origins = {system: origin(system) for system in systems.values()}
    for run in runs:
        learned_from = datasets_of(run.lineage())
        for system, made_by in origins.items():
            _require_stranger_to(system, made_by, run, learned_from)
        if shared := sorted(splits & {dataset.filters.get("split") for dataset in learned_from}):
            raise StudyError(f"reward model {run} learned from {shared[0]} prompts and cannot judge systems on them")


def _require_stranger_to(system: System, made_by: set[Run], run: Run, learned_from: set[PreferenceDataset]) -> None:
    advice = "give one trained on scorer prompts, or leave the system out with --systems"
    if run in made_by:
        raise StudyError(f"reward model {run} took part in training {system} and cannot judge it: {advice}")
    if learned_from & datasets_of(made_by):
        raise StudyError(f"reward model {run} learned from the same data set as {system} and cannot judge it: {advice}")


def origin(system: System) -> set[Run]:
    """The runs that wrote for the system and all that those came from."""
    return {ancestor for run in Run.objects.filter(system=system) for ancestor in run.lineage()}


def datasets_of(runs: Iterable[Run]) -> set[PreferenceDataset]:
    return set(PreferenceDataset.objects.filter(runs__in=list(runs)))


def verdict(left: float, right: float, *, tie_threshold: float) -> Choice:
    """The side with the higher score; a tie where they differ by no more than the threshold."""
    if abs(left - right) <= tie_threshold:
        return Choice.TIE
    return Choice.LEFT if left > right else Choice.RIGHT


def votes(
    assignments: Sequence[Assignment], runs: Mapping[Criterion, Run], scorer: Scorer, *, tie_threshold: float
) -> list[Vote]:
    """A vote on each assignment. Every response is scored once a run, whatever it is compared with."""
    started = time.perf_counter()
    responses = {response.pk: response for a in assignments for response in (a.left, a.right)}
    texts = [(response.prompt.text, response.text) for response in responses.values()]
    columns = {run: scorer(run.folder, texts) for run in set(runs.values())}
    scores = {
        criterion: dict(zip(responses, columns[run][criterion.key], strict=True)) for criterion, run in runs.items()
    }
    seconds = (time.perf_counter() - started) / max(1, len(assignments))
    found = []
    for assignment in assignments:
        both = {c: (score[assignment.left.pk], score[assignment.right.pk]) for c, score in scores.items()}
        found.append(
            Vote(
                assignment=assignment,
                choices={c: verdict(left, right, tie_threshold=tie_threshold) for c, (left, right) in both.items()},
                text=json.dumps({c.key: {"left": left, "right": right} for c, (left, right) in both.items()}),
                seconds=seconds,
            )
        )
    return found
