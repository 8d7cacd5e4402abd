"""Which reward model a study's command takes: the one that was named, or the latest that learned from a split."""

from collections.abc import Mapping, Sequence

from django.db.models import Q

from annotation.errors import InputError, StudyError
from annotation.models import Split, Study
from training.models import Run, RunKind, RunStatus
from training.runs import finished_run


def reward_runs(
    study: Study,
    keys: Sequence[str],
    given: Mapping[str, str],
    *,
    option: str = "--reward-run",
    split: str = Split.TRAIN,
    otherwise: str = "",
) -> dict[str, Run]:
    """A finished reward model for each criterion: the one `given` with `option`, else the study's latest of the split.

    Args:
        otherwise: what else can be done where a criterion has none.

    Raises:
        InputError: a run is given for another criterion, or is no finished reward model of it.
        StudyError: a criterion has none, or the one given learned from someone who has withdrawn.
    """
    for key in given:
        if key not in keys:
            raise InputError(f"{option} {key}=...: that criterion is not among {', '.join(keys)}")
    return {
        key: _given(key, given[key], option) if key in given else _latest(study, key, split, otherwise) for key in keys
    }


def _given(key: str, name: str, option: str) -> Run:
    run = finished_run(name, RunKind.REWARD_MODEL)
    if key not in run.learned_criteria:
        raise InputError(f"{option} {key}={name}: that reward model learned {', '.join(run.learned_criteria)}")
    if run.is_tainted:
        raise StudyError(f"run {name} learned from someone who has withdrawn since: train {key} anew")
    return run


def _latest(study: Study, key: str, split: str, otherwise: str) -> Run:
    criterion = study.criterion(key)
    done = Run.objects.filter(
        # A shared encoder has no criterion of its own, but a data set of each.
        Q(criterion=criterion) | Q(criterion=None, datasets__criterion=criterion),
        kind=RunKind.REWARD_MODEL,
        status=RunStatus.DONE,
        config__split=split,
    )
    able = (run for run in done.distinct() if key in run.learned_criteria)
    run = next((run for run in able if not run.is_tainted and run.folder.is_dir()), None)
    if run is None:
        raise StudyError(
            f"study {study.slug} has no reward model of {key} that learned from {split} prompts: "
            f"{_how_to_get(study, key, split)}{otherwise}"
        )
    return run


def _how_to_get(study: Study, key: str, split: str) -> str:
    train = f"manage.py train_reward_model --study {study.slug} --criterion {key} --split {split}"
    if split == Split.SCORER and not study.prompts.filter(split=split).exists():
        return (
            "it has no scorer prompts, and those that teach policies cannot become some. Import further posts with "
            f"manage.py import_prompts FILE --study {study.slug} --test-size 0 --scorer-size N, have responses to them "
            f"ranked and run {train}"
        )
    return f"run {train}"
