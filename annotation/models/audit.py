"""Who did what, when."""

from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation.errors import StudyError
from annotation.models.rater import Rater
from annotation.models.study import Criterion, Study


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise StudyError("audit events are never changed")

    def delete(self) -> NoReturn:
        raise StudyError("audit events are never deleted")


class AuditEvent(models.Model):
    """Append-only. `old` and `new` hold whatever JSON tells the change; no personal data."""

    at = models.DateTimeField(auto_now_add=True)
    study = models.ForeignKey(Study, models.PROTECT)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    rater = models.ForeignKey(Rater, models.PROTECT, null=True, blank=True, related_name="+")
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=200)
    old = models.JSONField(null=True, blank=True)
    new = models.JSONField(null=True, blank=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.action} {self.subject}"


class VerdictEventQuerySet(models.QuerySet["VerdictEvent"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise StudyError("the trail of verdicts is never changed")

    def delete(self) -> NoReturn:
        raise StudyError("the trail of verdicts is never deleted")


class VerdictEvent(models.Model):
    """A verdict given, changed or taken away. Written by the database's own triggers (see annotation.protection), so
    that no way to a verdict passes it by. Append-only; `assignment` is a number, since a withdrawal deletes the row."""

    at = models.DateTimeField(db_default=Now())
    study = models.ForeignKey(Study, models.PROTECT, related_name="+")
    rater = models.ForeignKey(Rater, models.PROTECT, related_name="+")
    criterion = models.ForeignKey(Criterion, models.PROTECT, related_name="+")
    assignment = models.BigIntegerField()
    old = models.CharField(max_length=6, blank=True, help_text="Empty for a first verdict")
    new = models.CharField(max_length=6, blank=True, help_text="Empty for a verdict taken away")
    by = models.CharField(max_length=120, blank=True, help_text="The database's user and application")

    objects = VerdictEventQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index(fields=["assignment"], name="verdict_event_assignment")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.rater}, {self.criterion}"

    def reverses(self, other: "VerdictEvent") -> bool:
        return (self.criterion_id, self.old, self.new) == (other.criterion_id, other.new, other.old)
