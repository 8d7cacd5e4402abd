"""What each role may do in its study. Everything else is refused.

A role is a `Membership` of one study. A permission that a superuser gives a user or group in Django's own way holds for
every study. Participants and clinicians hold no permission at all: what they see follows from being raters.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model, QuerySet

from annotation.errors import StudyError
from annotation.models import Membership, Role, Study

Someone = User | AnonymousUser


def permissions(app: str, **models: str) -> Iterator[str]:
    """`permissions("annotation", study="view change")` yields annotation.view_study and annotation.change_study."""
    return (f"{app}.{action}_{model}" for model, actions in models.items() for action in actions.split())


PROTOCOL = frozenset(permissions("annotation", study="view", criterion="view", consentdocument="view"))
CONTENT = frozenset(
    permissions(
        "annotation",
        prompt="view",
        system="view",
        response="view",
        ranking="view",
        rater="view",
        questionnaireitem="view",
    )
)
RUNS = frozenset([*permissions("training", run="view", preferencedataset="view"), "evaluation.view_judge"])
DESIGNS = frozenset(permissions("annotation", judgingdesign="view add"))
REPORT = frozenset(["evaluation.view_studyreport"])
TRAIL = frozenset(permissions("annotation", auditevent="view", verdictevent="view"))
MANAGEMENT = frozenset(
    permissions(
        "annotation",
        study="change advance unblind",
        criterion="add change delete",
        consentdocument="add",
        questionnaireitem="add change delete",
        rater="add withdraw",
        membership="view add change delete",
    )
)
# Each of them opens the records that tell which system wrote what.
SYSTEMS_OF_RESPONSES = frozenset(permissions("annotation", system="view change", response="view change"))

# Which system wrote which response is for those who make them: a monitor, who talks to clinicians, cannot tell.
GRANTS: dict[str, frozenset[str]] = {
    Role.RESEARCHER: PROTOCOL | CONTENT | RUNS | DESIGNS | REPORT,
    Role.MONITOR: PROTOCOL | REPORT | TRAIL,
    Role.ADMIN: PROTOCOL | CONTENT | RUNS | DESIGNS | REPORT | TRAIL | MANAGEMENT,
}


class RoleBackend(ModelBackend):
    """Django's own, and the permissions that roles give.

    Without an object: those that the user has in some study. With a study: those in that study.
    """

    def get_all_permissions(self, user_obj: Someone, obj: Model | None = None) -> set[str]:
        roles = roles_of(user_obj)
        if obj is not None:
            here = roles.get(obj.pk) if isinstance(obj, Study) else None
            roles = {obj.pk: here} if here else {}
        return super().get_all_permissions(user_obj).union(*(GRANTS[role] for role in roles.values()))


def roles_of(user: Someone) -> dict[int, str]:
    """The user's role in each study, asked once a request."""
    if not isinstance(user, User) or not user.is_active:
        return {}
    known: dict[int, str] | None = getattr(user, "roles_known", None)
    if known is None:
        known = dict(Membership.objects.filter(user=user).values_list("study", "role"))
        user.roles_known = known  # type: ignore[attr-defined]
    return known


def studies_with(user: Someone, permission: str) -> list[int] | None:
    """The studies, as primary keys, where the user has the permission; null where that is every study."""
    if user.is_active and (user.is_superuser or permission in ModelBackend().get_all_permissions(user)):
        return None
    return [study for study, role in roles_of(user).items() if permission in GRANTS[role]]


def within_reach(rows: QuerySet[Any], user: Someone, permission: str, path: str) -> QuerySet[Any]:
    """Those rows whose study, at the end of the path, is one where the user has the permission."""
    studies = studies_with(user, permission)
    return rows if studies is None else rows.filter(**{f"{path}__in": studies})


def sees_systems(user: User) -> bool:
    """Whether the user can look up in every study which system wrote what."""
    return user.is_superuser or bool(SYSTEMS_OF_RESPONSES & ModelBackend().get_all_permissions(user))


def require_blind(user: User) -> None:
    """Before the user becomes a clinician, in whatever study. What a role in that study opens is asked where roles are
    given.

    Raises:
        StudyError: the user can look up in every study which system wrote what.
    """
    if sees_systems(user):
        raise StudyError(f"{user} can look up which system wrote what, in every study: choose someone else")
