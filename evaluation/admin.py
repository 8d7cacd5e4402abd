"""Judges and reports in Django's admin: all of it to be read."""

from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.contrib import admin
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.cache import patch_cache_control
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from annotation.admin import ReadOnlyAdmin
from annotation.models import RaterKind
from evaluation.charts import Chart
from evaluation.models import Judge, StudyReport

FIGURE_KEPT_FOR = 60 * 60 * 24 * 30
# A figure opened by itself may style itself; its script, were there any, may not run.
FIGURE_POLICY = {"default-src": ["'none'"], "style-src": [UNSAFE_INLINE], "img-src": [SELF, "data:"]}


@admin.register(Judge)
class JudgeAdmin(ReadOnlyAdmin):
    list_display = ["rater", "kind", "model", "is_toy"]
    list_select_related = ["rater"]


@admin.register(StudyReport)
class StudyReportAdmin(ReadOnlyAdmin):
    """Per study: progress and reliability while the team is blind; outcomes, win rates and judges after the lock."""

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
        figure = path(
            "<int:pk>/figures/<slug:name>.svg",
            self.admin_site.admin_view(self.figure_view),
            name="evaluation_studyreport_figure",
        )
        return [figure, *super().get_urls()]

    def viewable(self, request: HttpRequest, pk: str) -> StudyReport:
        """The study, if there is one and its report may be seen."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        study: StudyReport | None = self.get_object(request, pk)
        if study is None:
            raise Http404
        return study

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Late: numpy, pandas and scipy come with the first report, not with the site.
        from evaluation.report import report_of

        study = self.viewable(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Report: {study.title}",
            "opts": self.opts,
            "report": report_of(study),
        }
        return TemplateResponse(request, "admin/evaluation/studyreport/report.html", context)

    @method_decorator([require_safe, csp_replace(FIGURE_POLICY)])
    def figure_view(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        from evaluation.report import report_of

        chart = report_of(self.viewable(request, str(pk))).findings.charts().get(name)
        if chart is None:
            raise Http404
        response = HttpResponse(svg_of(chart), content_type="image/svg+xml")
        # The page asks for each drawing by its digest, so what is kept is never out of date.
        patch_cache_control(response, private=True, max_age=FIGURE_KEPT_FOR, immutable=True)
        return response


def svg_of(chart: Chart) -> bytes:
    key = f"figure:{chart.digest}"
    drawn: bytes | None = cache.get(key)
    if drawn is None:
        # Late: matplotlib is loaded by the process that draws, and only then.
        from evaluation.figures import draw

        drawn = draw(chart.data)
        cache.set(key, drawn, FIGURE_KEPT_FOR)
    return drawn
