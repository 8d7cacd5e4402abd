"""Records of studies in Django's admin: each user reaches those that a role, or a site-wide permission, opens.

An admin of records that belong to studies builds on `StudyRecordAdmin` and says with `study_path` how a record leads to
its study, as one writes it in a filter.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import ForeignKey, Model, QuerySet
from django.forms import ModelChoiceField, model_to_dict
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from annotation.models import AuditEvent, Study, StudyStatus
from annotation.roles import within_reach


def permission(opts: Any, action: str) -> str:
    return f"{opts.app_label}.{get_permission_codename(action, opts)}"


class ByRole:
    """Permissions asked of the study: that of the record, or the parent of an inline."""

    opts: Any

    def study_of(self, obj: Any) -> Study:
        study: Study = obj
        return study

    def allows(self, request: HttpRequest, action: str, obj: Any) -> bool:
        asked = permission(self.opts, action)
        return request.user.has_perm(asked) and (
            obj is None or obj.pk is None or request.user.has_perm(asked, self.study_of(obj))
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "add", obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "view", obj) or self.allows(request, "change", obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "delete", obj)


class StudyRecordAdmin(ByRole, admin.ModelAdmin):  # type: ignore[type-arg]
    study_path = "study"

    def study_of(self, obj: Any) -> Study:
        return super().study_of(obj if self.study_path == "pk" else attrgetter(self.study_path.replace("__", "."))(obj))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return within_reach(super().get_queryset(request), request.user, permission(self.opts, "view"), self.study_path)

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> "ModelChoiceField[Any] | None":
        if db_field.related_model is Study:
            open_ones = Study.objects.exclude(status=StudyStatus.LOCKED)
            kwargs["queryset"] = within_reach(open_ones, request.user, permission(self.opts, "add"), "pk")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def ask(self, request: HttpRequest, records: QuerySet[Any], deed: str) -> HttpResponse | None:
        """To the page that says what the deed means: one record at a time."""
        chosen = list(records)
        if len(chosen) != 1:
            name = self.opts.verbose_name
            self.message_user(request, f"Select one {name}: you selected {len(chosen)}.", messages.WARNING)
            return None
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_{deed}", chosen[0].pk)

    def reachable(self, request: HttpRequest, pk: int, may: Callable[..., bool]) -> Any:
        """The record, for whoever sees it and may do the deed."""
        record = self.get_object(request, str(pk))
        if record is None:
            raise Http404
        if not may(request, record):
            raise PermissionDenied
        return record


def keep_edit(request: HttpRequest, study: Study, obj: Model, edit: str) -> None:
    """In the audit trail, before it is done: `edit` (add, change, delete) with what was and what becomes."""
    rows = type(obj)._default_manager.filter(pk=obj.pk)
    old = {} if edit == "add" else model_to_dict(rows.get())
    new = {} if edit == "delete" else model_to_dict(obj)
    if differ := [name for name in old | new if name not in old or name not in new or old[name] != new[name]]:
        AuditEvent.objects.create(
            study=study,
            user=cast("User", request.user),
            action=f"{obj._meta.model_name}.{edit}",
            subject=f"{obj._meta.verbose_name} {obj}",
            old={name: old[name] for name in differ} if old else None,
            new={name: new[name] for name in differ} if new else None,
        )


class ReadOnlyAdmin(StudyRecordAdmin):
    """Records that software or people made, to be read."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only its filters: asking by a field tells what it holds, shown or not."""
        filters = [given[0] if isinstance(given, tuple) else given for given in self.get_list_filter(request)]
        names = [str(getattr(own, "parameter_name", own)) for own in filters]
        asked = lookup in names or any(lookup.startswith(f"{name}__") for name in names)
        return asked and super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
