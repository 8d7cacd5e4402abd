"""Simulated participants in a study: raters who are marked so, their tasks and their rankings."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.db import transaction
from django.utils import timezone

from annotation.errors import InputError, StudyError
from annotation.models import (
    Criterion,
    Participant,
    ParticipantStatus,
    Prompt,
    Ranking,
    RankingTask,
    Rater,
    RaterKind,
    Response,
    Study,
    StudyStatus,
)
from annotation.simulation import noisy_utilities, ranks
from annotation.study_files import Post, read_posts

PREFIX = "Sim-P"


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """Raters and raters a prompt; None for what the study needs."""

    raters: int | None = None
    per_prompt: int | None = None
    seed: int = 0

    def sizes(self, study: Study, prompts: int) -> tuple[int, int]:
        """(raters, raters a prompt)

        Raises:
            InputError: so many raters cannot share out so many tasks.
        """
        per_prompt = study.raters_per_task if self.per_prompt is None else self.per_prompt
        tasks = prompts * per_prompt
        needed = max(per_prompt, math.ceil(tasks / study.tasks_per_participant))
        raters = needed if self.raters is None else self.raters
        if per_prompt < 1 or not per_prompt <= raters <= tasks:
            raise InputError(
                f"{raters} raters, {per_prompt} a prompt, {prompts} prompts: there must be at least as many raters as "
                "a prompt needs, and a task for each"
            )
        return raters, per_prompt


@dataclass(frozen=True)
class RatedPrompt:
    """A prompt, the ids of its responses, and their points. Shape of points: (n_responses, n_criteria)"""

    prompt: Prompt
    response_ids: list[int]
    points: list[list[int]]


@dataclass(frozen=True)
class Simulated:
    raters: int
    rankings: int


@transaction.atomic
def simulate_participants(study: Study, folder: Path, plan: SimulationPlan) -> Simulated | None:
    """How many raters and rankings were made; None if the study has simulated participants already.

    Raises:
        InputError: the folder is not that of the study, or states no quality for a ranked criterion.
        StudyError: the study is not open, or ranks nothing.
    """
    if study.status != StudyStatus.OPEN:
        raise StudyError(f"study {study.slug} is {study.status}: participants can be simulated only while it is open")
    if study.raters.filter(simulated=True, name__startswith=PREFIX).exists():
        return None
    criteria = list(study.criteria.filter(ranked=True))
    if not criteria:
        raise StudyError(f"study {study.slug} has no criterion that participants rank on")
    posts = [post for post in read_posts(folder) if post.responses]
    if not posts:
        raise InputError(
            f"{folder}: no posts_*.toml with responses in it, whose qualities simulated participants rank by"
        )
    rated = _rated_prompts(study, posts, criteria)
    n_raters, per_prompt = plan.sizes(study, len(rated))
    raters = _create_raters(study, n_raters)
    rankings = Ranking.objects.record(_orders(rated, criteria, raters, per_prompt, plan.seed))
    study.auditevent_set.create(
        action="participants.simulate",
        subject=f"study {study.slug}",
        new={"raters": n_raters, "rankings": rankings, "seed": plan.seed},
    )
    return Simulated(n_raters, rankings)


def _rated_prompts(study: Study, posts: list[Post], criteria: list[Criterion]) -> list[RatedPrompt]:
    prompts = {prompt.key: prompt for prompt in study.prompts.all()}
    responses = {
        (prompt, key): pk
        for pk, prompt, key in Response.objects.filter(prompt__study=study).values_list("pk", "prompt_id", "key")
    }
    rated = []
    for post in posts:
        prompt = prompts.get(post.key)
        shown = post.responses[: study.responses_per_task]
        if prompt is None or any((prompt.pk, post.response_key(response)) not in responses for response in shown):
            raise InputError(f"{post.where}: not in study {study.slug}: give the folder it was loaded from")
        points = [[post.quality(response, criterion.key) for criterion in criteria] for response in shown]
        ids = [responses[prompt.pk, post.response_key(response)] for response in shown]
        rated.append(RatedPrompt(prompt, ids, points))
    return rated


def _create_raters(study: Study, count: int) -> list[Rater]:
    """Raters who are complete, but hold no consent record: nobody consented."""
    raters = Rater.objects.bulk_create(
        Rater(study=study, kind=RaterKind.PARTICIPANT, simulated=True, name=f"{PREFIX}{number:02d}")
        for number in range(1, count + 1)
    )
    now = timezone.now()
    Participant.objects.bulk_create(
        Participant(rater=rater, status=ParticipantStatus.COMPLETE, finished_at=now) for rater in raters
    )
    return raters


def _orders(
    rated: list[RatedPrompt], criteria: list[Criterion], raters: list[Rater], per_prompt: int, seed: int
) -> Iterator[tuple[RankingTask, Criterion, list[int]]]:
    """Each task with each criterion and the ids of its responses, best first; the tasks are stored."""
    rng = np.random.default_rng(seed)
    utilities = noisy_utilities([row for item in rated for row in item.points], len(raters), seed)
    starts = np.cumsum([0, *(len(item.points) for item in rated)])
    places = rng.permutation(len(rated)).tolist()
    # Prompts in a drawn order are dealt to the raters in turn, so the tasks a rater gets differ by one at most.
    dealt = [(turn // per_prompt, turn % len(raters)) for turn in range(len(rated) * per_prompt)]
    tasks = RankingTask.objects.record(
        (
            # No slot: the places of a prompt are kept for people.
            RankingTask(rater=raters[rater], prompt=item.prompt, position=1 + turn // len(raters)),
            rng.permutation(item.response_ids).tolist(),
        )
        for turn, (place, rater) in enumerate(dealt)
        for item in [rated[places[place]]]
    )
    for task, (place, rater) in zip(tasks, dealt, strict=True):
        index = places[place]
        best_first = np.argsort(ranks(utilities[rater, starts[index] : starts[index + 1]]), axis=0)
        for column, criterion in enumerate(criteria):
            yield task, criterion, [rated[index].response_ids[row] for row in best_first[:, column]]
