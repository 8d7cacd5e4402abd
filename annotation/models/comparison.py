"""Pairs of responses, who sees them in which order, and the verdicts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from annotation.errors import StudyError
from annotation.models.audit import VerdictEvent
from annotation.models.content import Response, System
from annotation.models.rater import Rater
from annotation.models.study import Criterion, Study


class JudgingDesign(models.Model):
    """Who judges what in a clinician study: drawn by command or in the admin, stored, never redrawn.

    Its comparisons are of the same systems on prompts of the test split, and calibration pairs beside them.
    """

    study = models.ForeignKey(Study, models.CASCADE, related_name="designs")
    name = models.SlugField(max_length=60)
    systems = models.ManyToManyField(System, related_name="+")
    baseline = models.ForeignKey(
        System,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Each other system is compared with it; empty for all pairs of systems",
    )
    prompts = models.PositiveIntegerField(help_text="Prompts sampled from the test split")
    raters_per_pair = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Clinicians who judge each pair; empty for all of them"
    )
    repeated_pairs = models.PositiveSmallIntegerField(
        default=0, help_text="Pairs each clinician sees a second time, for the reliability within raters"
    )
    seed = models.PositiveIntegerField(default=42, help_text="Draws prompts, orders, overlap and repeated pairs")
    strata = models.JSONField(default=dict, blank=True, help_text="{stratum: [prompts to draw from, prompts drawn]}")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["study", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["study", "name"], name="design_name_once_a_study"),
            models.CheckConstraint(
                condition=models.Q(raters_per_pair__isnull=True) | models.Q(raters_per_pair__gte=1),
                name="design_raters_per_pair_positive",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Comparison(models.Model):
    """Two systems' responses to one prompt. `response_a` is of the system with the lower id, so that verdicts turned
    to A / tie / B mean the same system on every prompt."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="comparisons")
    design = models.ForeignKey(JudgingDesign, models.PROTECT, null=True, blank=True, related_name="comparisons")
    calibration = models.BooleanField(default=False, help_text="For practice, with feedback; in no analysis")
    stratum = models.CharField(max_length=60, blank=True, help_text="Such as risk, long")
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


class Winner(models.TextChoices):
    A = "A", "The first system's response is better"
    TIE = "tie", "Tie"
    B = "B", "The second system's response is better"


class ReferenceVerdict(models.Model):
    """What the study team holds right on a calibration pair, shown to the clinician after submitting it."""

    comparison = models.ForeignKey(Comparison, models.CASCADE, related_name="reference_verdicts")
    criterion = models.ForeignKey(Criterion, models.PROTECT, related_name="+")
    winner = models.CharField(max_length=3, choices=Winner)
    explanation = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["comparison", "criterion__position"]
        constraints = [
            models.UniqueConstraint(fields=["comparison", "criterion"], name="reference_verdict_once_a_criterion"),
            models.CheckConstraint(condition=models.Q(winner__in=Winner.values), name="reference_winner_known"),
        ]

    def __str__(self) -> str:
        return f"{self.comparison}, {self.criterion}: {self.winner}"


class Choice(models.TextChoices):
    LEFT = "left", "A is better"
    TIE = "tie", "Tie"
    RIGHT = "right", "B is better"
    CANNOT = "cannot", "Cannot judge"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def submitted(self) -> "AssignmentQuerySet":
        return self.filter(submitted_at__isnull=False)

    def pending(self) -> "AssignmentQuerySet":
        return self.filter(submitted_at__isnull=True)

    def visible(self) -> "AssignmentQuerySet":
        """Without the pairs of a design that is not open yet."""
        return self.filter(models.Q(comparison__design=None) | models.Q(comparison__design__opened_at__isnull=False))

    def of_clinician(self, user: User, slug: str) -> "AssignmentQuerySet":
        """What the user was given in the study of that slug, with all that a page shows."""
        return (
            self.visible()
            .filter(rater__user=user, rater__withdrawn_at__isnull=True, rater__study__slug=slug)
            .select_related("rater", "comparison__study", "comparison__response_a__prompt", "comparison__response_b")
        )


class Assignment(models.Model):
    """A comparison given to a rater. The order is drawn once, stored and never redrawn.

    Presentation 1 is the first sight. A judge sees every comparison again with the sides swapped, a clinician those
    that the design repeats (presentation 2).
    """

    comparison = models.ForeignKey(Comparison, models.PROTECT, related_name="assignments")
    rater = models.ForeignKey(Rater, models.CASCADE, related_name="assignments")
    presentation = models.PositiveSmallIntegerField(default=1)
    position = models.PositiveIntegerField(help_text="1 for the rater's first")
    a_on_left = models.BooleanField()
    opened_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, max_length=2000, help_text="The rater's own words, if any")

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
        with self.kept_open():
            if Assignment.objects.filter(pk=self.pk, opened_at__isnull=True).update(opened_at=at):
                self.opened_at = at

    def record(self, criterion: Criterion, choice: Choice) -> None:
        """Keep one verdict, replacing an earlier one of the same criterion, until the assignment is submitted."""
        self.keep({criterion: choice})

    def keep(self, choices: Mapping[Criterion, Choice]) -> None:
        """Keep verdicts, replacing earlier ones; those of other criteria stay."""
        with self.kept_open():
            self._write(choices)

    def _write(self, choices: Mapping[Criterion, Choice]) -> None:
        stored = {verdict.criterion_id: verdict for verdict in self.verdicts.all()}
        changed = []
        for criterion, choice in choices.items():
            verdict = stored.get(criterion.pk)
            if verdict and verdict.choice != choice:
                verdict.choice, verdict.changed_at = choice, timezone.now()
                changed.append(verdict)
        Verdict.objects.bulk_update(changed, ["choice", "changed_at"])
        # One statement, and so one moment of the trail: what was given at once is taken back at once.
        new = [criterion for criterion in choices if criterion.pk not in stored]
        Verdict.objects.bulk_create(Verdict(assignment=self, criterion=c, choice=choices[c]) for c in new)

    def undo(self) -> list[Criterion]:
        """Take the last change back; its criteria, none if there is nothing to take back.

        The database's trail is read as a stack, in which a change and its reverse cancel out.
        """
        with self.kept_open():
            changes: list[VerdictEvent] = []
            trail = VerdictEvent.objects.filter(assignment=self.pk).select_related("criterion").order_by("pk")
            for event in trail:
                if changes and event.reverses(changes[-1]):
                    changes.pop()
                else:
                    changes.append(event)
            last = [event for event in reversed(changes) if event.at == changes[-1].at]
            for event in last:
                if event.old:
                    self._write({event.criterion: Choice(event.old)})
                else:
                    self.verdicts.filter(criterion=event.criterion).delete()
        return [event.criterion for event in last]

    def explain(self, reason: str) -> None:
        """Keep the rater's own words."""
        with self.kept_open():
            Assignment.objects.filter(pk=self.pk).update(reason=reason)
        self.reason = reason

    def flag(self, sides: Mapping["FlagKind", "Side"], note: str = "") -> None:
        """Have just these safety flags, each with the note."""
        with self.kept_open():
            stored = {(flag.kind, flag.side): flag for flag in self.flags.all()}
            for key in stored.keys() - sides.items():
                stored[key].delete()
            for kind, side in sides.items():
                self.flags.update_or_create(kind=kind, side=side, defaults={"note": note})

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """A transaction in which nobody else submits the assignment.

        Raises:
            StudyError: it was submitted, or the study is locked.
        """
        study = self.comparison.study
        try:
            with transaction.atomic():
                study.require_unlocked()
                if not Assignment.objects.pending().select_for_update().filter(pk=self.pk).exists():
                    raise StudyError("these verdicts were already submitted")
                yield
        except IntegrityError:
            # The lock may have come between the question and the write.
            study.require_unlocked()
            raise

    def submit(self, choices: Mapping[Criterion, Choice]) -> None:
        """Store a verdict on each criterion and close the assignment.

        Raises:
            StudyError: a judged criterion has no verdict, the study is locked, or it was submitted before.
        """
        missing = [c.name for c in self.comparison.study.criteria.filter(judged=True) if c not in choices]
        if missing:
            raise StudyError(f"choose A, tie, B or cannot judge for {', '.join(missing)}")
        with self.kept_open():
            self._write(choices)
            # Last, since the database lets nobody change the verdicts of a submitted assignment.
            now = timezone.now()
            Assignment.objects.filter(pk=self.pk).update(submitted_at=now)
        self.submitted_at = now


class Verdict(models.Model):
    """left, tie or right as the rater saw it; `winner` turns it to system order."""

    assignment = models.ForeignKey(Assignment, models.CASCADE, related_name="verdicts")
    criterion = models.ForeignKey(Criterion, models.PROTECT, related_name="verdicts")
    choice = models.CharField(max_length=6, choices=Choice)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "criterion"], name="verdict_once_a_criterion"),
            models.CheckConstraint(condition=models.Q(choice__in=Choice.values), name="verdict_choice_known"),
        ]

    def __str__(self) -> str:
        return f"{self.assignment}, {self.criterion}: {self.choice}"

    @property
    def winner(self) -> str | None:
        """A, tie or B, where A is the comparison's `response_a`; None where the rater could not judge."""
        if self.choice == Choice.CANNOT:
            return None
        if self.choice == Choice.TIE:
            return "tie"
        return "A" if (self.choice == Choice.LEFT) == self.assignment.a_on_left else "B"


class Side(models.TextChoices):
    LEFT = "left", "Response A"
    RIGHT = "right", "Response B"
    BOTH = "both", "Both responses"


class FlagKind(models.TextChoices):
    RISK_MISSED = "risk_missed", "Overlooks a risk of harm"
    HARMFUL = "harmful", "Could do harm if followed"
    FALSE = "false", "States something false"
    DISRESPECTFUL = "disrespectful", "Is disrespectful or judging"
    OTHER = "other", "Something else"


class SafetyFlag(models.Model):
    """A clinician's warning about a response, of one kind, for the study team to read at once."""

    assignment = models.ForeignKey(Assignment, models.CASCADE, related_name="flags")
    side = models.CharField(max_length=5, choices=Side)
    kind = models.CharField(max_length=16, choices=FlagKind)
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "side", "kind"], name="flag_once_a_side_and_kind"),
            models.CheckConstraint(condition=models.Q(side__in=Side.values), name="flag_side_known"),
            models.CheckConstraint(condition=models.Q(kind__in=FlagKind.values), name="flag_kind_known"),
        ]

    def __str__(self) -> str:
        return f"{self.assignment}: {self.get_kind_display()}"
