"""The study's records in Django's admin. What was collected can be read here, never edited; verdicts are read in
the reports, since a list of them would unblind the team."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from annotation.errors import StudyError
from annotation.models import (
    AuditEvent,
    ConsentDocument,
    Criterion,
    Prompt,
    QuestionnaireItem,
    Rater,
    Response,
    Study,
    StudyStatus,
    System,
    VerdictEvent,
)

admin.site.site_header = admin.site.site_title = "Attune"
admin.site.index_title = "Studies, training, reports"


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Records that software or people made, to be read."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CriterionInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Criterion
    extra = 0
    classes = ["collapse"]


class ConsentDocumentInline(admin.StackedInline):  # type: ignore[type-arg]
    """New versions are added; a version that stands is never edited, since people agreed to its words."""

    model = ConsentDocument
    extra = 0
    classes = ["collapse"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Study)
class StudyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["title", "slug", "status", "created_at", "locked_at"]
    list_filter = ["status"]
    readonly_fields = ["status", "locked_at", "data_sha256"]
    inlines = [CriterionInline, ConsentDocumentInline]
    actions = ["open_study", "close_study", "lock_study", "unblind_study"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        locked = obj is not None and obj.status == StudyStatus.LOCKED
        return not locked and super().has_change_permission(request, obj)

    @admin.action(description="Open for participants and clinicians", permissions=["advance"])
    def open_study(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        self.advance(request, studies, StudyStatus.OPEN)

    @admin.action(description="Close: no new rankings", permissions=["advance"])
    def close_study(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        self.advance(request, studies, StudyStatus.CLOSED)

    @admin.action(description="Lock for good: data can no longer change", permissions=["advance"])
    def lock_study(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        self.advance(request, studies, StudyStatus.LOCKED)

    @admin.action(description="Unblind locked studies: reports tell systems apart", permissions=["unblind"])
    def unblind_study(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        for study in studies:
            try:
                study.unblind(by=request.user)  # type: ignore[arg-type]  # The admin lets only users in.
            except StudyError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"{study} is unblinded.", messages.SUCCESS)

    def has_advance_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("annotation.advance_study")

    def has_unblind_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("annotation.unblind_study")

    def advance(self, request: HttpRequest, studies: QuerySet[Study], status: StudyStatus) -> None:
        for study in studies:
            try:
                study.advance(status, by=request.user)  # type: ignore[arg-type]  # The admin lets only users in.
            except StudyError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"{study} is now {study.get_status_display().lower()}.", messages.SUCCESS)


@admin.register(Prompt)
class PromptAdmin(ReadOnlyAdmin):
    list_display = ["key", "study", "split", "topic", "risk"]
    list_filter = ["study", "split", "risk"]
    search_fields = ["key", "text"]
    list_select_related = ["study"]


@admin.register(System)
class SystemAdmin(ReadOnlyAdmin):
    list_display = ["name", "study", "kind", "description"]
    list_filter = ["study", "kind"]
    list_select_related = ["study"]


@admin.register(Response)
class ResponseAdmin(ReadOnlyAdmin):
    list_display = ["key", "prompt", "system", "number"]
    list_filter = ["prompt__study", "system"]
    search_fields = ["key", "text"]
    list_select_related = ["prompt", "system"]


@admin.register(Rater)
class RaterAdmin(ReadOnlyAdmin):
    list_display = ["name", "study", "kind", "simulated", "created_at", "withdrawn_at"]
    list_filter = ["study", "kind", "simulated"]
    search_fields = ["name"]
    list_select_related = ["study"]


@admin.register(QuestionnaireItem)
class QuestionnaireItemAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["key", "study", "position", "section", "kind", "optional"]
    list_filter = ["study"]
    list_select_related = ["study"]


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ["at", "study", "action", "subject", "user", "rater"]
    list_filter = ["study", "action"]
    list_select_related = ["study", "user", "rater"]


@admin.register(VerdictEvent)
class VerdictEventAdmin(ReadOnlyAdmin):
    """Left and right as the rater saw them, never which system stood there."""

    list_display = ["at", "study", "rater", "assignment", "criterion", "old", "new", "by"]
    list_filter = ["study"]
    list_select_related = ["study", "rater", "criterion"]
