"""What became of a user's ways in, kept where it is looked for."""

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from annotation.models import AuditEvent, Study


@transaction.atomic
def keep(user: User, action: str, *, by: User | None) -> None:
    """In the user's history, and in the audit trail of each study that the user has to do with."""
    # A history wants a user. On the command line nobody is known, and the trail says so.
    LogEntry.objects.log_actions((by or user).pk, [user], CHANGE, change_message=action, single_object=True)
    studies = Study.objects.filter(Q(raters__user=user) | Q(memberships__user=user)).distinct()
    AuditEvent.objects.bulk_create(
        AuditEvent(study=study, action=action, subject=f"user {user}", user=by) for study in studies
    )
