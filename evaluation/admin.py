"""Judges and reports in Django's admin: all of it to be read."""

from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from annotation.admin_access import ReadOnlyAdmin
from annotation.models import RaterKind
from config.pages import HtmxHttpRequest
from evaluation import design_admin  # noqa: F401 (registers the designs)
from evaluation.models import Judge, StudyReport


@admin.register(Judge)
class JudgeAdmin(ReadOnlyAdmin):
    study_path = "rater__study"
    list_display = ["rater", "kind", "model", "is_toy"]
    list_select_related = ["rater"]


@admin.register(StudyReport)
class StudyReportAdmin(ReadOnlyAdmin):
    """Per study: progress and reliability while the team is blind; outcomes, win rates and judges once unblinded."""

    study_path = "pk"
    list_display = ["title", "status", "progress"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StudyReport]:
        given = Q(comparisons__assignments__rater__kind=RaterKind.CLINICIAN)
        submitted = given & Q(comparisons__assignments__submitted_at__isnull=False)
        studies: QuerySet[StudyReport] = super().get_queryset(request)
        return studies.annotate(
            assigned=Count("comparisons__assignments", filter=given),
            submitted=Count("comparisons__assignments", filter=submitted),
        )

    @admin.display(description="Judged by clinicians")
    def progress(self, study: Any) -> str:
        return f"{study.submitted} of {study.assigned}"

    def get_urls(self) -> list[URLPattern]:
        shown, file = "<int:pk>/report/<slug:slug>/", "<int:pk>/report/<slug:slug>/<slug:name>"
        own = [
            path(shown, self.reading("page"), name="evaluation_studyreport_page"),
            path("<int:pk>/report.pdf", self.reading("whole"), name="evaluation_studyreport_whole"),
            *(
                path(f"{file}.{kind}", self.reading(view), {"kind": kind}, name=f"evaluation_studyreport_{view}_{kind}")
                for view, kind in (("figure", "svg"), ("figure", "pdf"), ("table", "csv"), ("table", "tex"))
            ),
        ]
        return [*own, *super().get_urls()]

    def reading(self, name: str) -> Callable[..., HttpResponse]:
        """The view of that name in `report_views`, for who may see the report."""

        @require_safe
        def read(request: HttpRequest, pk: int, **asked: str) -> HttpResponse:
            # Late: commands have no use for numpy, pandas and scipy. A served site has them from its start.
            from evaluation import report_views

            site = {"site": self.site_context(request)} if name == "page" else {}
            response: HttpResponse = getattr(report_views, name)(
                request, self.viewable(request, str(pk)), **asked, **site
            )
            return response

        return self.admin_site.admin_view(read)

    def site_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts}

    def viewable(self, request: HttpRequest, pk: str) -> StudyReport:
        """The study, if there is one and its report may be seen. Without the counts of the list, which take long."""
        found: QuerySet[StudyReport] = super().get_queryset(request)
        study = found.filter(pk=pk).first() if pk.isdecimal() else None
        if not self.has_view_permission(request, study):
            raise PermissionDenied
        if study is None:
            raise Http404
        return study

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from evaluation.report_views import page

        study = self.viewable(request, object_id)
        # The middleware gives every request its htmx.
        return page(cast("HtmxHttpRequest", request), study, "overview", self.site_context(request))
