"""The study's records in Django's admin. What was collected can be read here, never edited; verdicts are read in
the reports, since a list of them would unblind the team."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from annotation import study_admin, user_admin  # noqa: F401 (they register studies and users)
from annotation.admin_access import ReadOnlyAdmin, StudyRecordAdmin, keep_edit
from annotation.errors import StudyError
from annotation.forms.people import ClinicianForm, RandomIdForm
from annotation.forms.protocol import QuestionnaireItemForm
from annotation.models import AuditEvent, Prompt, QuestionnaireItem, Rater, Response, System, VerdictEvent
from annotation.study_admin import is_locked
from annotation.withdrawal import Withdrawal, foresee

admin.site.site_header = admin.site.site_title = "Attune"
admin.site.index_title = "Studies, training, reports"

# Filters name only what the list itself may show.
OF_REACH = admin.RelatedOnlyFieldListFilter


@admin.register(Prompt)
class PromptAdmin(ReadOnlyAdmin):
    list_display = ["key", "study", "split", "topic", "risk"]
    list_filter = [("study", OF_REACH), "split", "risk"]
    search_fields = ["key", "text"]
    list_select_related = ["study"]


@admin.register(System)
class SystemAdmin(ReadOnlyAdmin):
    list_display = ["name", "study", "kind", "description"]
    list_filter = [("study", OF_REACH), "kind"]
    list_select_related = ["study"]


@admin.register(Response)
class ResponseAdmin(ReadOnlyAdmin):
    study_path = "prompt__study"
    list_display = ["key", "prompt", "system", "number"]
    list_filter = [("prompt__study", OF_REACH), ("system", OF_REACH)]
    search_fields = ["key", "text"]
    list_select_related = ["prompt", "system"]


@admin.register(Rater)
class RaterAdmin(ReadOnlyAdmin):
    list_display = ["name", "study", "kind", "simulated", "created_at", "withdrawn_at"]
    list_filter = [("study", OF_REACH), "kind", "simulated"]
    search_fields = ["name", "participant__public_id"]
    list_select_related = ["study"]
    actions = ["withdraw_participant"]
    form = ClinicianForm

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "add", obj)

    def get_fields(self, request: HttpRequest, obj: Rater | None = None) -> list[Any]:
        if obj is None:
            return ["study", "name", "user_name"]
        return ["study", "name", "kind", "simulated", "user", "created_at", "withdrawn_at"]

    def save_model(self, request: HttpRequest, obj: Rater, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        AuditEvent.objects.create(
            study=obj.study, action="clinician.admit", subject=f"clinician {obj.name}", user=cast("User", request.user)
        )

    def has_withdraw_permission(self, request: HttpRequest, obj: Rater | None = None) -> bool:
        return self.allows(request, "withdraw", obj)

    @admin.action(
        description="Withdraw a participant who asks for it (search for their random id) ...", permissions=["withdraw"]
    )
    def withdraw_participant(self, request: HttpRequest, raters: QuerySet[Rater]) -> HttpResponse | None:
        return self.ask(request, raters, "withdraw")

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.withdraw_view)
        return [path("<int:pk>/withdraw/", page, name="annotation_rater_withdraw"), *super().get_urls()]

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        rater: Rater = self.reachable(request, pk, self.has_withdraw_permission)
        try:
            return self.confirm_withdrawal(request, rater, foresee(rater))
        except StudyError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:annotation_rater_changelist")

    def confirm_withdrawal(self, request: HttpRequest, rater: Rater, foreseen: Withdrawal) -> HttpResponse:
        form = RandomIdForm(request.POST if request.method == "POST" else None, participant=rater.participant)
        if form.is_valid():
            rater.withdraw(by=cast("User", request.user))
            self.message_user(request, f"{rater} has withdrawn.", messages.SUCCESS)
            return redirect("admin:annotation_rater_changelist")
        context = {"rater": rater, "foreseen": foreseen, "form": form, "title": f"Withdraw {rater}", "opts": self.opts}
        template, status = "admin/annotation/rater/withdraw.html", 422 if form.is_bound else 200
        return TemplateResponse(request, template, {**self.admin_site.each_context(request), **context}, status=status)


@admin.register(QuestionnaireItem)
class QuestionnaireItemAdmin(StudyRecordAdmin):
    form = QuestionnaireItemForm
    list_display = ["key", "study", "position", "section", "kind", "optional"]
    list_filter = [("study", OF_REACH)]
    list_select_related = ["study"]

    def allows(self, request: HttpRequest, action: str, obj: Any) -> bool:
        as_it_is = action == "view" or obj is None or obj.pk is None or not is_locked(obj.study)
        return as_it_is and super().allows(request, action, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: QuestionnaireItem | None = None) -> list[str]:
        return ["study"] if obj else []

    def save_model(self, request: HttpRequest, obj: QuestionnaireItem, form: Any, change: bool) -> None:
        keep_edit(request, obj.study, obj, "change" if change else "add")
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: QuestionnaireItem) -> None:
        keep_edit(request, obj.study, obj, "delete")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[QuestionnaireItem]) -> None:
        with transaction.atomic():
            for item in queryset:
                self.delete_model(request, item)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """What a change was from and to names systems at times: until unblinding that is for those who see systems."""

    list_display = ["at", "study", "action", "subject", "user", "rater"]
    list_filter = [("study", OF_REACH), "action"]
    list_select_related = ["study", "user", "rater"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        told = obj and (obj.study.unblinded_at or request.user.has_perm("annotation.view_system", obj.study))
        return [*self.list_display, *(["old", "new"] if told else [])]


@admin.register(VerdictEvent)
class VerdictEventAdmin(ReadOnlyAdmin):
    """Left and right once the study is unblinded: before, whoever could tell the sides would know who wins."""

    list_display = ["at", "study", "rater", "assignment", "criterion", "change", "by"]
    fields = ["at", "study", "rater", "assignment", "criterion", "change", "by"]
    list_filter = [("study", OF_REACH)]
    list_select_related = ["study", "rater", "criterion"]

    @admin.display
    def change(self, event: VerdictEvent) -> str:
        if event.study.unblinded_at:
            return f"{event.old or 'none'} to {event.new or 'none'}"
        return "given" if not event.old else "taken away" if not event.new else "changed"
