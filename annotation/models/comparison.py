"""Pairs of responses, who sees them in which order, and the verdicts."""

from datetime import datetime

from django.contrib.auth.models import User
from django.db import models, transaction
from django.utils import timezone

from annotation.errors import StudyError
from annotation.models.content import Response
from annotation.models.rater import Rater
from annotation.models.study import Criterion, Study


class Comparison(models.Model):
    """Two systems' responses to one prompt. `response_a` is of the system with the lower id, so that verdicts turned
    to A / tie / B mean the same system on every prompt."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="comparisons")
    response_a = models.ForeignKey(Response, models.PROTECT, related_name="+")
    response_b = models.ForeignKey(Response, models.PROTECT, related_name="+")

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["response_a", "response_b"], name="comparison_once_a_pair"),
            models.CheckConstraint(condition=~models.Q(response_a=models.F("response_b")), name="comparison_of_two"),
        ]

    def __str__(self) -> str:
        return f"Comparison {self.pk}"


class Choice(models.TextChoices):
    LEFT = "left", "A is better"
    TIE = "tie", "Tie"
    RIGHT = "right", "B is better"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def submitted(self) -> "AssignmentQuerySet":
        return self.filter(submitted_at__isnull=False)

    def pending(self) -> "AssignmentQuerySet":
        return self.filter(submitted_at__isnull=True)

    def of_clinician(self, user: User, slug: str) -> "AssignmentQuerySet":
        """What the user was given in the study of that slug, with all that a page shows."""
        return self.filter(
            rater__user=user, rater__withdrawn_at__isnull=True, rater__study__slug=slug, presentation=1
        ).select_related("rater", "comparison__study", "comparison__response_a__prompt", "comparison__response_b")


class Assignment(models.Model):
    """A comparison given to a rater. The order is drawn once, stored and never redrawn.

    People see a comparison once (presentation 1); a judge sees it again with the sides swapped (presentation 2).
    """

    comparison = models.ForeignKey(Comparison, models.PROTECT, related_name="assignments")
    rater = models.ForeignKey(Rater, models.CASCADE, related_name="assignments")
    presentation = models.PositiveSmallIntegerField(default=1)
    position = models.PositiveIntegerField(help_text="1 for the rater's first")
    a_on_left = models.BooleanField()
    opened_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        ordering = ["rater", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "rater", "presentation"], name="assignment_once_a_presentation"
            ),
            models.UniqueConstraint(fields=["rater", "position"], name="assignment_position_once_a_rater"),
        ]

    def __str__(self) -> str:
        return f"{self.rater}, {self.position}"

    @property
    def left(self) -> Response:
        return self.comparison.response_a if self.a_on_left else self.comparison.response_b

    @property
    def right(self) -> Response:
        return self.comparison.response_b if self.a_on_left else self.comparison.response_a

    @property
    def seconds(self) -> float | None:
        """Seconds from first sight to submission; null before."""
        return (self.submitted_at - self.opened_at).total_seconds() if self.submitted_at and self.opened_at else None

    def note_opened(self, at: datetime) -> None:
        """Keep when the pair was first shown; later times change nothing."""
        if Assignment.objects.filter(pk=self.pk, opened_at__isnull=True).update(opened_at=at):
            self.opened_at = at

    def record(self, criterion: Criterion, choice: Choice) -> None:
        """Keep one verdict, replacing an earlier one of the same criterion, until the assignment is submitted."""
        self.comparison.study.require_unlocked()
        if self.submitted_at:
            raise StudyError("these verdicts were already submitted")
        Verdict.objects.update_or_create(assignment=self, criterion=criterion, defaults={"choice": choice})

    def submit(self, choices: dict[Criterion, Choice]) -> None:
        """Store a verdict on each criterion and close the assignment.

        Raises:
            StudyError: a judged criterion has no verdict, the study is locked, or it was submitted before.
        """
        study = self.comparison.study
        study.require_unlocked()
        missing = [c.name for c in study.criteria.filter(judged=True) if c not in choices]
        if missing:
            raise StudyError(f"choose A, tie or B for {', '.join(missing)}")
        with transaction.atomic():
            now = timezone.now()
            if not Assignment.objects.pending().filter(pk=self.pk).update(submitted_at=now):
                raise StudyError("these verdicts were already submitted")
            for criterion, choice in choices.items():
                Verdict.objects.update_or_create(assignment=self, criterion=criterion, defaults={"choice": choice})
        self.submitted_at = now


class Verdict(models.Model):
    """left, tie or right as the rater saw it; `winner` turns it to system order."""

    assignment = models.ForeignKey(Assignment, models.CASCADE, related_name="verdicts")
    criterion = models.ForeignKey(Criterion, models.PROTECT, related_name="verdicts")
    choice = models.CharField(max_length=5, choices=Choice)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "criterion"], name="verdict_once_a_criterion"),
            models.CheckConstraint(condition=models.Q(choice__in=Choice.values), name="verdict_choice_known"),
        ]

    def __str__(self) -> str:
        return f"{self.assignment}, {self.criterion}: {self.choice}"

    @property
    def winner(self) -> str:
        """A, tie or B, where A is the comparison's `response_a`."""
        if self.choice == Choice.TIE:
            return "tie"
        return "A" if (self.choice == Choice.LEFT) == self.assignment.a_on_left else "B"
