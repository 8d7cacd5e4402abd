"""A study, its criteria and the documents people consent to."""

import hashlib
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from annotation.errors import StudyError


class StudyStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    OPEN = "open", "Open"
    CLOSED = "closed", "Closed"
    LOCKED = "locked", "Locked"


class Study(models.Model):
    """One study from consent to conclusion: draft -> open -> closed -> locked."""

    slug = models.SlugField(unique=True, help_text="Short name in addresses and commands")
    title = models.CharField(max_length=200)
    status = models.CharField(max_length=8, choices=StudyStatus, default=StudyStatus.DRAFT)
    seed = models.PositiveIntegerField(default=42, help_text="Draws every display order of the study")
    responses_per_task = models.PositiveSmallIntegerField(default=5)
    tasks_per_participant = models.PositiveSmallIntegerField(default=2, help_text="Prompts each participant ranks")
    raters_per_task = models.PositiveSmallIntegerField(default=6, help_text="Participants who rank each prompt")
    content_note = models.TextField(blank=True, help_text="What people will read, said before they read it")
    debrief = models.TextField(blank=True)
    contact = models.TextField(blank=True)
    completion_code = models.CharField(max_length=32, blank=True)
    declined_code = models.CharField(max_length=32, blank=True)
    screened_out_code = models.CharField(max_length=32, blank=True)
    full_code = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    locked_at = models.DateTimeField(null=True, blank=True, editable=False)
    data_sha256 = models.CharField(
        max_length=64, blank=True, editable=False, help_text="Of the data, taken at the lock"
    )
    unblinded_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["slug"]
        verbose_name_plural = "studies"
        permissions = [
            ("advance_study", "Can open, close and lock a study"),
            ("unblind_study", "Can unblind a locked study"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(unblinded_at__isnull=True) | models.Q(status="locked"),
                name="study_unblinded_is_locked",
            ),
            models.CheckConstraint(condition=models.Q(status__in=StudyStatus.values), name="study_status_known"),
            models.CheckConstraint(
                condition=models.Q(status="locked", locked_at__isnull=False)
                | (~models.Q(status="locked") & models.Q(locked_at__isnull=True)),
                name="study_locked_has_time",
            ),
            models.CheckConstraint(
                condition=models.Q(responses_per_task__gte=2, responses_per_task__lte=10),
                name="study_responses_per_task_2_to_10",
            ),
            models.CheckConstraint(
                condition=models.Q(tasks_per_participant__gte=1, raters_per_task__gte=1), name="study_sizes_positive"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def advance(self, status: StudyStatus, *, by: User | None = None) -> None:
        """Move to the next status, `by` a user if one asked. The row is changed only if nobody moved it meanwhile.

        Raises:
            StudyError: `status` does not follow the present one, or the database would not keep a lock.
        """
        from annotation import seal  # It reads every table, this one too.

        order = list(StudyStatus)
        before = StudyStatus(self.status)
        if order.index(status) != order.index(before) + 1:
            following = order[order.index(before) + 1 :]
            raise StudyError(
                f"study {self.slug} is {before}: "
                + (f"it can only become {following[0]} now, not {status}" if following else "it stays so")
            )
        with transaction.atomic():
            # Who is writing is waited for; who comes to write waits for us (see annotation.triggers).
            Study.objects.select_for_update(no_key=True).get(pk=self.pk)
            data = seal.data_of(self) if status == StudyStatus.LOCKED else None
            locked_at, sha256 = (timezone.now(), seal.hash_of(data)) if data else (None, "")
            # Told first: the database takes no step that the trail does not tell (see annotation.protection).
            self.auditevent_set.create(
                action=f"study.{status}", subject=f"study {self.slug}", user=by, old=before, new=status
            )
            moved = Study.objects.filter(pk=self.pk, status=before).update(
                status=status, locked_at=locked_at, data_sha256=sha256
            )
            if not moved:
                raise StudyError(f"study {self.slug} was changed by someone else: reload it")
            if data:
                seal.keep(self, data)
        self.status, self.locked_at, self.data_sha256 = status, locked_at, sha256

    def unblind(self, *, by: User | None = None) -> None:
        """Let the reports tell systems apart from now on: `by` a user if one asked, who must be allowed to.

        Raises:
            StudyError: the study is not locked, or was unblinded before.
        """
        now = timezone.now()
        with transaction.atomic():
            self.auditevent_set.create(action="study.unblind", subject=f"study {self.slug}", user=by)
            unblinded = Study.objects.filter(pk=self.pk, status=StudyStatus.LOCKED, unblinded_at__isnull=True)
            if not unblinded.update(unblinded_at=now):
                raise StudyError(f"study {self.slug} is not locked, or was unblinded before")
        self.unblinded_at = now

    def require_unlocked(self) -> None:
        """Raise StudyError if the data may no longer change."""
        if Study.objects.filter(pk=self.pk, status=StudyStatus.LOCKED).exists():
            raise StudyError(f"study {self.slug} is locked: its data can no longer change")

    def current_consent(self) -> "ConsentDocument | None":
        return self.consent_documents.order_by("-pk").first()

    def criterion(self, key: str) -> "Criterion":
        """The criterion of that key.

        Raises:
            StudyError: the study has no such criterion; the message lists those it has.
        """
        criterion = self.criteria.filter(key=key).first()
        if criterion is None:
            known = ", ".join(self.criteria.values_list("key", flat=True)) or "none"
            raise StudyError(f"study {self.slug} has no criterion {key!r}: it has {known}")
        return criterion


class Criterion(models.Model):
    study = models.ForeignKey(Study, models.CASCADE, related_name="criteria")
    key = models.SlugField()
    name = models.CharField(max_length=80)
    question = models.CharField(max_length=300)
    better_when = models.TextField()
    worse_when = models.TextField()
    reference = models.CharField(max_length=200, blank=True)
    position = models.PositiveSmallIntegerField()
    ranked = models.BooleanField(default=True, help_text="Participants rank responses on it")
    judged = models.BooleanField(default=True, help_text="Clinicians and judges give verdicts on it")

    class Meta:
        ordering = ["study", "position"]
        verbose_name_plural = "criteria"
        constraints = [
            models.UniqueConstraint(fields=["study", "key"], name="criterion_key_once_a_study"),
            models.UniqueConstraint(fields=["study", "position"], name="criterion_position_once_a_study"),
        ]

    def __str__(self) -> str:
        return self.name


LONGEST_STATEMENT = 500


def validate_statements(statements: Any) -> None:
    """Raise ValidationError unless it is a list of texts that people can agree to."""
    if not isinstance(statements, list) or not statements:
        raise ValidationError("Statements must be a list of texts, at least one.")
    for number, statement in enumerate(statements, start=1):
        if not isinstance(statement, str) or not statement.strip():
            raise ValidationError(f"Statement {number} must be a text, and not blank.")
        if len(statement) > LONGEST_STATEMENT:
            raise ValidationError(
                f"Statement {number} has {len(statement)} characters, at most {LONGEST_STATEMENT} fit."
            )


class ConsentDocument(models.Model):
    """One version of the information sheet and of the statements people tick. Never edited once someone agreed."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="consent_documents")
    version = models.CharField(max_length=20)
    information = models.TextField()
    statements = models.JSONField(default=list, validators=[validate_statements])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["study", "version"], name="consent_version_once_a_study"),
        ]

    def __str__(self) -> str:
        return f"Consent {self.version}"

    @property
    def sha256(self) -> str:
        """Hex digest of the text agreed to: information, then each statement, parted by line feeds."""
        return hashlib.sha256("\n".join([self.information, *self.statements]).encode()).hexdigest()
