"""Whoever ranks or judges: people and models in one table, so that agreement treats them alike."""

import uuid

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.utils import timezone

from annotation.models.study import ConsentDocument, Study


class RaterKind(models.TextChoices):
    PARTICIPANT = "participant", "Participant"
    CLINICIAN = "clinician", "Clinician"
    JUDGE = "judge", "Judge"


class RaterQuerySet(models.QuerySet["Rater"]):
    def active(self) -> "RaterQuerySet":
        """Raters who have not withdrawn: the only ones an export or a report may hold."""
        return self.filter(withdrawn_at__isnull=True)


class Rater(models.Model):
    """`kind` says what the rater does, `simulated` that no person stands behind it."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="raters")
    kind = models.CharField(max_length=12, choices=RaterKind)
    simulated = models.BooleanField(default=False)
    name = models.CharField(max_length=80, help_text="Pseudonym in reports, such as C1 or P-7f3a91")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="raters",
        help_text="A clinician's login",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = RaterQuerySet.as_manager()

    class Meta:
        ordering = ["study", "pk"]
        permissions = [("withdraw_rater", "Can withdraw a participant who asks for it")]
        constraints = [
            models.UniqueConstraint(fields=["study", "name"], name="rater_name_once_a_study"),
            models.UniqueConstraint(fields=["study", "user"], name="rater_user_once_a_study"),
            models.CheckConstraint(condition=models.Q(kind__in=RaterKind.values), name="rater_kind_known"),
            models.CheckConstraint(
                condition=models.Q(user__isnull=True) | models.Q(kind="clinician"), name="rater_user_is_clinician"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (simulated)" if self.simulated else self.name

    def withdraw(self, *, by: User | None = None) -> None:
        """Delete all that the rater gave, `by` a user if one was asked to. The empty row stays, so that data sets made
        earlier show as tainted.

        Raises:
            StudyError: the study is locked.
        """
        self.study.require_unlocked()
        with transaction.atomic():
            if not Rater.objects.active().filter(pk=self.pk).update(withdrawn_at=timezone.now()):
                return
            self.ranking_tasks.all().delete()
            self.assignments.all().delete()
            self.answers.all().delete()
            PanelLink.objects.filter(participant__rater=self).delete()
            Participant.objects.filter(rater=self).update(
                status=ParticipantStatus.WITHDRAWN, finished_at=timezone.now()
            )
            self.study.auditevent_set.create(action="rater.withdraw", subject=f"rater {self.name}", rater=self, user=by)
        self.refresh_from_db()


class ParticipantStatus(models.TextChoices):
    ACTIVE = "active", "Taking part"
    DECLINED = "declined", "Declined"
    FULL = "full", "Came when the study was full"
    COMPLETE = "complete", "Complete"
    WITHDRAWN = "withdrawn", "Withdrawn"


class Participant(models.Model):
    """Detail of a rater of kind participant. Holds no name, address, birth date, IP or user agent."""

    rater = models.OneToOneField(Rater, models.CASCADE, primary_key=True, related_name="participant")
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    status = models.CharField(max_length=12, choices=ParticipantStatus, default=ParticipantStatus.ACTIVE)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=ParticipantStatus.values), name="participant_status_known"
            ),
        ]

    def __str__(self) -> str:
        return self.rater.name


class PanelLink(models.Model):
    """A recruitment panel's id as a keyed hash, apart from every answer, so that nobody takes part twice."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="+")
    participant = models.OneToOneField(Participant, models.CASCADE, related_name="panel_link")
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "hash"], name="panel_id_once_a_study")]

    def __str__(self) -> str:
        return self.hash[:8]


class ConsentRecord(models.Model):
    """What a participant decided on which text, and when."""

    participant = models.ForeignKey(Participant, models.CASCADE, related_name="consents")
    document = models.ForeignKey(ConsentDocument, models.PROTECT, related_name="records")
    document_sha256 = models.CharField(max_length=64)
    agreed = models.BooleanField()
    decided_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["participant", "document"], name="consent_once_a_document"),
        ]

    def __str__(self) -> str:
        return f"{self.participant}: {'agreed' if self.agreed else 'declined'}"
