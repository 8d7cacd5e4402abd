"""Studies in Django's admin: their documents and members, and the steps from draft to unblinding."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from annotation.admin_access import ByRole, StudyRecordAdmin, keep_edit
from annotation.errors import StudyError
from annotation.forms.people import MembershipForm, SureForm
from annotation.forms.protocol import ConsentDocumentForm
from annotation.models import ConsentDocument, Criterion, Membership, Study, StudyStatus
from annotation.participation import missing_for_participants


class CriterionInline(ByRole, admin.StackedInline):  # type: ignore[type-arg]
    model = Criterion
    extra = 0
    classes = ["collapse"]

    def allows(self, request: HttpRequest, action: str, obj: Any) -> bool:
        return (action == "view" or not is_locked(obj)) and super().allows(request, action, obj)


class ConsentDocumentInline(ByRole, admin.StackedInline):  # type: ignore[type-arg]
    """New versions are added; a version that stands is never edited, since people agreed to its words."""

    model = ConsentDocument
    form = ConsentDocumentForm
    extra = 0
    classes = ["collapse"]

    def allows(self, request: HttpRequest, action: str, obj: Any) -> bool:
        return action in {"view", "add"} and super().allows(request, action, obj)


class MembershipInline(ByRole, admin.TabularInline):  # type: ignore[type-arg]
    """After the lock, too: people come and go."""

    model = Membership
    form = MembershipForm
    fields = ["user_name", "role"]
    extra = 0
    verbose_name_plural = "members of the team"


def is_locked(study: Study | None) -> bool:
    return study is not None and study.status == StudyStatus.LOCKED


@admin.register(Study)
class StudyAdmin(StudyRecordAdmin):
    study_path = "pk"
    list_display = ["title", "slug", "status", "created_at", "locked_at", "unblinded_at"]
    list_filter = ["status"]
    inlines = [MembershipInline, CriterionInline, ConsentDocumentInline]
    actions = ["open_study", "close_study", "lock_study", "unblind_study"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Study | None = None) -> list[str]:
        stated = ["status", "locked_at", "data_sha256", "unblinded_at"]
        given = [field.name for field in Study._meta.fields if field.editable and field.name not in {"id", *stated}]
        return [*stated, *(given if is_locked(obj) else [])]

    def save_model(self, request: HttpRequest, obj: Study, form: Any, change: bool) -> None:
        if is_locked(obj):
            return
        if change:
            keep_edit(request, obj, obj, "change")
        super().save_model(request, obj, form, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if formset.model is not Membership:
            return self.save_protocol(request, form.instance, formset)
        for member in formset.save(commit=False):
            Membership.objects.admit(member.study, member.user, member.role, by=request.user)  # type: ignore[arg-type]
        for member in formset.deleted_objects:
            member.end(by=request.user)
        return None

    def save_protocol(self, request: HttpRequest, study: Study, formset: Any) -> None:
        """Criteria and consent documents; what an edit changed is kept in the audit trail."""
        formset.save(commit=False)
        for part in formset.deleted_objects:
            keep_edit(request, study, part, "delete")
            part.delete()
        for part, _ in formset.changed_objects:
            keep_edit(request, study, part, "change")
            part.save()
        for part in formset.new_objects:
            keep_edit(request, study, part, "add")
            part.save()

    @admin.action(description="Open for participants and clinicians", permissions=["advance"])
    def open_study(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        self.advance(request, studies, StudyStatus.OPEN)
        for study in studies:
            for line in missing_for_participants(study) if study.status == StudyStatus.OPEN else []:
                self.message_user(request, line, messages.WARNING)

    @admin.action(description="Close: no new rankings", permissions=["advance"])
    def close_study(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        self.advance(request, studies, StudyStatus.CLOSED)

    @admin.action(description="Lock for good ...", permissions=["advance"])
    def lock_study(self, request: HttpRequest, studies: QuerySet[Study]) -> HttpResponse | None:
        return self.ask(request, studies, "lock")

    @admin.action(description="Unblind ...", permissions=["unblind"])
    def unblind_study(self, request: HttpRequest, studies: QuerySet[Study]) -> HttpResponse | None:
        return self.ask(request, studies, "unblind")

    def has_advance_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return self.allows(request, "advance", obj)

    def has_unblind_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return self.allows(request, "unblind", obj)

    def advance(self, request: HttpRequest, studies: QuerySet[Study], status: StudyStatus) -> None:
        for study in studies:
            if not self.has_advance_permission(request, study):
                self.message_user(request, f"You may not open or close {study}.", messages.ERROR)
            else:
                self.attempt(request, study, partial(study.advance, status), StudyStatus(status).label.lower())

    def attempt(self, request: HttpRequest, study: Study, deed: Callable[..., None], done: str) -> None:
        try:
            deed(by=request.user)
        except StudyError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, f"{study} is now {done}.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        pages = [
            path(f"<int:pk>/{deed}/", self.admin_site.admin_view(view), name=f"annotation_study_{deed}")
            for deed, view in (("lock", self.lock_view), ("unblind", self.unblind_view))
        ]
        return [*pages, *super().get_urls()]

    def lock_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        study: Study = self.reachable(request, pk, self.has_advance_permission)
        return self.confirm(request, study, "lock", partial(study.advance, StudyStatus.LOCKED), "locked")

    def unblind_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        study: Study = self.reachable(request, pk, self.has_unblind_permission)
        return self.confirm(request, study, "unblind", study.unblind, "unblinded")

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def confirm(
        self, request: HttpRequest, study: Study, name: str, deed: Callable[..., None], done: str
    ) -> HttpResponse:
        form = SureForm(request.POST if request.method == "POST" else None, slug=study.slug)
        if form.is_valid():
            self.attempt(request, study, deed, done)
            return redirect("admin:annotation_study_change", study.pk)
        context = {"study": study, "form": form, "title": f"{name.capitalize()} {study}", "opts": self.opts}
        template = f"admin/annotation/study/{name}.html"
        status = 422 if form.is_bound else 200
        return TemplateResponse(request, template, {**self.admin_site.each_context(request), **context}, status=status)
