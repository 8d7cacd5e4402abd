"""Prompts for the evaluating scorers alone, in studies that have train and test prompts only."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Count, QuerySet

from annotation.errors import StudyError
from annotation.models import Prompt, Ranking, Split, Study
from annotation.splits import split_by_shares
from training.models import ADAPTER_KINDS, Run

SHARES = {Split.TRAIN.value: 2 / 3, Split.SCORER.value: 1 / 3}
FEWEST = 2


def ranked_prompts(study: Study, criteria: Iterable[str], split: str) -> QuerySet[Prompt]:
    """The prompts of a split that have a submitted ranking on every one of the criteria."""
    prompts = study.prompts.filter(split=split).order_by("pk")
    for key in criteria:
        rankings = Ranking.objects.submitted().filter(criterion__study=study, criterion__key=key)
        prompts = prompts.filter(pk__in=rankings.values("task__prompt"))
    return prompts


def give_scorers_prompts(study: Study, criteria: Iterable[str]) -> int:
    """How many train prompts became scorer prompts: none where the scorers have theirs, else a third of those that are
    ranked on all criteria, drawn by the study's seed within posts of risk and others. From then on no command trains a
    policy on them.

    A prompt whose text the study has twice stays, lest a policy learn from the other copy.

    Raises:
        StudyError: there are too few, the study is locked, or a policy has learned from the train prompts already.
    """
    keys = list(criteria)
    if ranked_prompts(study, keys, Split.SCORER).count() >= FEWEST:
        return 0
    study.require_unlocked()
    _require_untouched(study)
    repeated = study.prompts.values("text").annotate(copies=Count("pk")).filter(copies__gt=1).values("text")
    prompts = list(ranked_prompts(study, keys, Split.TRAIN).exclude(text__in=repeated))
    splits = split_by_shares([prompt.risk for prompt in prompts], SHARES, study.seed)
    moved = [prompt for prompt, split in zip(prompts, splits, strict=True) if split == Split.SCORER]
    if len(moved) < FEWEST:
        raise StudyError(
            f"study {study.slug} has {len(prompts)} train prompts ranked on {', '.join(keys)}: 6 are needed at least, "
            "of which a third teaches the evaluating scorers"
        )
    with transaction.atomic():
        study.prompts.filter(pk__in=[prompt.pk for prompt in moved]).update(split=Split.SCORER)
        study.auditevent_set.create(
            action="prompts.scorer",
            subject=f"study {study.slug}",
            old={"split": Split.TRAIN},
            new={"split": Split.SCORER, "seed": study.seed, "prompts": [prompt.key for prompt in moved]},
        )
    return len(moved)


def _require_untouched(study: Study) -> None:
    policy = Run.objects.filter(
        kind__in=ADAPTER_KINDS, datasets__study=study, datasets__filters__split=Split.TRAIN
    ).first()
    if policy:
        raise StudyError(
            f"study {study.slug} has no scorer prompts, and run {policy} has learned from its train prompts, so none "
            "can be kept for evaluating scorers: import the study anew under another slug, with import_prompts "
            "--scorer-size"
        )
