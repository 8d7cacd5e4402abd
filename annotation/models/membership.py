"""Who of the team may do what in which study."""

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction

from annotation.errors import StudyError
from annotation.models.study import Study


class Role(models.TextChoices):
    """What each may do stands in `annotation.roles`. Participants and clinicians are raters, not members."""

    RESEARCHER = "researcher", "Researcher"
    MONITOR = "monitor", "Monitor"
    ADMIN = "admin", "Study admin"


class MembershipManager(models.Manager["Membership"]):
    @transaction.atomic
    def admit(self, study: Study, user: User, role: str, *, by: User | None = None) -> "Membership":
        """Give the user the role in the study, in place of one they had; and entry to the admin site.

        Raises:
            StudyError: the user judges in this study, and stays blind.
        """
        if study.raters.filter(user=user).exists():
            raise StudyError(f"{user} is a clinician of study {study.slug} and stays blind: choose someone else")
        before = self.filter(study=study, user=user).first()
        membership, _ = self.update_or_create(study=study, user=user, defaults={"role": role})
        if not user.is_staff:
            user.is_staff = True
            user.save(update_fields=["is_staff"])
        membership.keep("admit", before.role if before else None, role, by)
        return membership


class Membership(models.Model):
    study = models.ForeignKey(Study, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipManager()

    class Meta:
        ordering = ["study", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["study", "user"], name="membership_once_a_study"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()}"

    @transaction.atomic
    def end(self, *, by: User | None = None) -> None:
        self.keep("end", self.role, None, by)
        self.delete()

    def keep(self, action: str, old: str | None, new: str | None, by: User | None) -> None:
        """In the audit trail, if anything changed."""
        if old != new:
            self.study.auditevent_set.create(
                action=f"membership.{action}", subject=f"member {self.user}", user=by, old=old, new=new
            )
