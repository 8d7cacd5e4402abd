"""Who did what, when."""

from typing import Any, NoReturn

from django.conf import settings
from django.db import models

from annotation.errors import StudyError
from annotation.models.rater import Rater
from annotation.models.study import Study


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
