"""Rewards of a study's responses: scored once by a reward-model run, read as margins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from annotation.models import Response, Study
from training.models import Reward, Run
from training.modpo import RewardKey
from training.pairs import PreferencePair
from training.scoring import RunScorer

CHUNK = 512

Track = Callable[[Iterable[Any]], Iterable[Any]]


def score_responses(run: Run, responses: Iterable[Response], *, track: Track = iter) -> int:
    """Store the run's rewards of each response that has none yet, one a criterion; returns how many were new.

    Chunks are stored as they are done, so that a scoring that was stopped goes on where it was.

    Raises:
        InputError: the run's folder holds no whole reward model.
        StudyError: a reward is no number; nothing of its chunk is stored.
    """
    # All rewards of a response are stored at once, so a response with one has them all.
    known = set(Reward.objects.filter(run=run).values_list("response_id", flat=True))
    missing = sorted((response for response in responses if response.pk not in known), key=lambda r: len(r.text))
    if not missing:
        return 0
    scorer = RunScorer(run.folder)
    for start in track(range(0, len(missing), CHUNK)):
        chunk = missing[start : start + CHUNK]
        columns = scorer.raw([(response.prompt.text, response.text) for response in chunk])
        Reward.objects.bulk_create(
            (
                Reward(run=run, criterion=criterion, response=response, raw=raw, value=scorer.normalise(criterion, raw))
                for criterion, column in columns.items()
                for response, raw in zip(chunk, column, strict=True)
            ),
            ignore_conflicts=True,
        )
    return len(missing)


def rewards_of_pairs(study: Study, pairs: Sequence[PreferencePair], runs: Mapping[str, Run]) -> dict[RewardKey, float]:
    """Each paired response's normalised reward on each criterion; those not yet scored are scored and stored."""
    wanted = {(pair.prompt_id, key) for pair in pairs for key in (pair.chosen_id, pair.rejected_id)}
    responses = [
        response
        for response in Response.objects.filter(
            prompt__study=study, prompt__key__in={prompt_id for prompt_id, _ in wanted}
        ).select_related("prompt")
        if (response.prompt.key, response.key) in wanted
    ]
    rewards: dict[RewardKey, float] = {}
    for criterion, run in runs.items():
        score_responses(run, responses)
        stored = Reward.objects.filter(run=run, criterion=criterion, response__in=responses)
        for reward in stored.select_related("response__prompt"):
            rewards[reward.response.prompt.key, reward.response.key, criterion] = reward.value
    return rewards
