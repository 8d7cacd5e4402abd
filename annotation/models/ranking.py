"""Ranking tasks and the rankings people submit, criterion by criterion."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from django.db import models, transaction
from django.utils import timezone

from annotation.errors import StudyError
from annotation.models.content import Prompt, Response
from annotation.models.rater import Rater
from annotation.models.study import Criterion, StudyStatus

BATCH = 2000


class RankingTaskQuerySet(models.QuerySet["RankingTask"]):
    @transaction.atomic
    def record(self, tasks: Iterable[tuple["RankingTask", Sequence[int]]]) -> "list[RankingTask]":
        """Store tasks made outside the web pages, each with its responses' ids in the order shown."""
        tasks = list(tasks)
        created = self.bulk_create([task for task, _ in tasks], batch_size=BATCH)
        TaskResponse.objects.bulk_create(
            (
                TaskResponse(task=task, response_id=response_id, position=position)
                for task, (_, shown) in zip(created, tasks, strict=True)
                for position, response_id in enumerate(shown, start=1)
            ),
            batch_size=BATCH,
        )
        return created


class RankingTask(models.Model):
    """One prompt and its responses, claimed by one rater.

    `slot` counts a prompt's raters from 0; a task that was abandoned gives its slot back by setting it to null,
    so (prompt, slot) being unique bounds the raters of a prompt however many claims race.
    """

    rater = models.ForeignKey(Rater, models.CASCADE, related_name="ranking_tasks")
    prompt = models.ForeignKey(Prompt, models.PROTECT, related_name="ranking_tasks")
    responses = models.ManyToManyField(Response, through="TaskResponse", related_name="+")
    slot = models.PositiveSmallIntegerField(null=True, blank=True)
    position = models.PositiveSmallIntegerField(help_text="1 for the rater's first task")
    claimed_at = models.DateTimeField(default=timezone.now)
    skipped_at = models.DateTimeField(null=True, blank=True)

    objects = RankingTaskQuerySet.as_manager()

    class Meta:
        ordering = ["rater", "position"]
        constraints = [
            models.UniqueConstraint(fields=["rater", "prompt"], name="task_rater_once_a_prompt"),
            models.UniqueConstraint(fields=["prompt", "slot"], name="task_slot_once_a_prompt"),
            models.UniqueConstraint(fields=["rater", "position"], name="task_position_once_a_rater"),
        ]

    def __str__(self) -> str:
        return f"{self.rater}: {self.prompt}"


class TaskResponse(models.Model):
    """A response of a task, at the place where this rater sees it."""

    task = models.ForeignKey(RankingTask, models.CASCADE, related_name="task_responses")
    response = models.ForeignKey(Response, models.PROTECT, related_name="+")
    position = models.PositiveSmallIntegerField(help_text="1 is shown first, as A")

    class Meta:
        ordering = ["task", "position"]
        constraints = [
            models.UniqueConstraint(fields=["task", "response"], name="task_response_once"),
            models.UniqueConstraint(fields=["task", "position"], name="task_response_position_once"),
        ]

    def __str__(self) -> str:
        return self.letter

    @property
    def letter(self) -> str:
        return chr(ord("A") + self.position - 1)


class RankingQuerySet(models.QuerySet["Ranking"]):
    def submitted(self) -> "RankingQuerySet":
        return self.filter(submitted_at__isnull=False)

    @transaction.atomic
    def record(self, orders: Iterable[tuple[RankingTask, Criterion, Sequence[int]]]) -> int:
        """Store finished rankings made outside the web pages, imported or simulated; returns how many.

        Each order lists the ids of the task's responses, best first. Unlike `submit` it asks no open study.

        Raises:
            StudyError: an order is no permutation of its task's responses.
        """
        orders = list(orders)
        shown: dict[int, set[int]] = defaultdict(set)
        prompts = {task.prompt_id for task, _, _ in orders}
        rows = TaskResponse.objects.filter(task__prompt__in=prompts).values_list("task_id", "response_id")
        for task_id, response_id in rows:
            shown[task_id].add(response_id)
        for task, _, order in orders:
            require_permutation(order, shown[task.pk])
        now = timezone.now()
        rankings = self.bulk_create(
            [Ranking(task=task, criterion=c, opened_at=now, submitted_at=now) for task, c, _ in orders],
            batch_size=BATCH,
        )
        RankedResponse.objects.bulk_create(
            (
                RankedResponse(ranking=ranking, response_id=response_id, rank=rank, size=len(order))
                for ranking, (_, _, order) in zip(rankings, orders, strict=True)
                for rank, response_id in enumerate(order, start=1)
            ),
            batch_size=BATCH,
        )
        return len(rankings)


def require_permutation(order: Sequence[int], expected: set[int]) -> None:
    if len(order) != len(expected) or set(order) != expected:
        raise StudyError("a ranking must give every response of the task its own rank")


class Ranking(models.Model):
    """One rater's ranking of a task's responses on one criterion; a draft until it is submitted."""

    task = models.ForeignKey(RankingTask, models.CASCADE, related_name="rankings")
    criterion = models.ForeignKey(Criterion, models.PROTECT, related_name="rankings")
    draft = models.JSONField(default=dict, blank=True, help_text="{response id: rank} as autosaved, complete or not")
    opened_at = models.DateTimeField(default=timezone.now)
    submitted_at = models.DateTimeField(null=True, blank=True)

    objects = RankingQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "criterion"], name="ranking_once_a_criterion")]

    def __str__(self) -> str:
        return f"{self.task}, {self.criterion}"

    @property
    def seconds(self) -> float | None:
        """Seconds from first sight to submission; null for a draft."""
        return (self.submitted_at - self.opened_at).total_seconds() if self.submitted_at else None

    def submit(self, order: list[Response]) -> None:
        """Store the ranking, best response first. Submitting again replaces it.

        Raises:
            StudyError: `order` is no permutation of the task's responses, or the study is not open.
        """
        expected = set(self.task.task_responses.values_list("response_id", flat=True))
        require_permutation([response.pk for response in order], expected)
        study = self.criterion.study
        if study.status != StudyStatus.OPEN:
            raise StudyError(f"study {study.slug} is {study.status}: it takes rankings only while it is open")
        with transaction.atomic():
            self.ranked_responses.all().delete()
            RankedResponse.objects.bulk_create(
                RankedResponse(ranking=self, response=response, rank=rank, size=len(order))
                for rank, response in enumerate(order, start=1)
            )
            self.draft = {}
            self.submitted_at = timezone.now()
            self.save(update_fields=["draft", "submitted_at"])


class RankedResponse(models.Model):
    """A response's rank. Unique ranks within 1..size make every full set of rows a permutation."""

    ranking = models.ForeignKey(Ranking, models.CASCADE, related_name="ranked_responses")
    response = models.ForeignKey(Response, models.PROTECT, related_name="+")
    rank = models.PositiveSmallIntegerField(help_text="1 is best")
    size = models.PositiveSmallIntegerField(help_text="Responses in the ranking")

    class Meta:
        ordering = ["ranking", "rank"]
        constraints = [
            models.UniqueConstraint(fields=["ranking", "response"], name="ranked_response_once"),
            models.UniqueConstraint(fields=["ranking", "rank"], name="rank_once_a_ranking"),
            models.CheckConstraint(
                condition=models.Q(rank__gte=1) & models.Q(rank__lte=models.F("size")), name="rank_within_size"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rank}. {self.response}"
