"""Who of the team may do what in which study."""

from django.conf import settings
from django.db import models

from annotation.models.study import Study


class Role(models.TextChoices):
    """What each may do stands in `annotation.roles`. Participants and clinicians are raters, not members."""

    RESEARCHER = "researcher", "Researcher"
    MONITOR = "monitor", "Monitor"
    ADMIN = "admin", "Study admin"


class Membership(models.Model):
    study = models.ForeignKey(Study, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["study", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["study", "user"], name="membership_once_a_study"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()}"
