"""Views of the report, behind the admin's login and the permission to see the study's report (see evaluation.admin)."""

from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.core.paginator import Page as PageOf
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse

from annotation.models import Study
from config.pages import HtmxHttpRequest, render_page
from evaluation import report, report_reading
from evaluation.report_facts import facts, software
from evaluation.report_forms import SelectionForm
from evaluation.report_source import Source
from evaluation.report_tables import csv_of, latex_of

TEMPLATE = "admin/evaluation/studyreport/page.html"
READ_AT_ONCE = 10
# A figure opened by itself may style itself; its script, were there any, may not run.
FIGURE_POLICY = {"default-src": ["'none'"], "style-src": [UNSAFE_INLINE], "img-src": [SELF, "data:"]}
TYPES = {"svg": "image/svg+xml", "pdf": "application/pdf", "csv": "text/csv", "tex": "application/x-tex"}


def page(request: HtmxHttpRequest, study: Study, slug: str, site: dict[str, Any]) -> HttpResponse:
    """A page of the report. What is not at hand yet is left out at first and asked for by the page itself."""
    form = SelectionForm(request.GET, study=study)
    title = f"Report: {study.title}"
    context = {**site, "title": title, "study": study, "form": form, "slug": slug}
    if not form.is_valid():
        return render_page(request, TEMPLATE, context, partial="findings", status=422)
    source = report.source_of(study, form.selection)
    if not report.exists(source, slug):
        raise Http404
    context |= {
        "source": source,
        "pages": report.pages(source).values(),
        "rater": report.rater_of(source, slug),
        "banners": report.banners(source),
        "query": form.query,
        "may_unblind": may_unblind(request, study),
    }
    if request.htmx or "compute" in request.GET or report.is_ready(source, slug):
        context |= {"ready": True, "sections": report.sections(source, slug), **more(request, source, slug)}
    return render_page(request, TEMPLATE, context, partial="findings")


def may_unblind(request: HttpRequest, study: Study) -> bool:
    locked = study.locked_at is not None and study.unblinded_at is None
    return locked and request.user.has_perm("annotation.unblind_study", study)


def more(request: HttpRequest, source: Source, slug: str) -> dict[str, Any]:
    """What a page shows beside its sections."""
    number = request.GET.get("page")
    if slug == "overview":
        return {"facts": facts(source), "software": software()}
    if slug == "disagreements":
        disputed: PageOf[Any] = Paginator(report_reading.disputed(source), READ_AT_ONCE).get_page(number)
        return {"page": disputed, "readings": report_reading.readings(source, list(disputed))}
    if slug == "flags":
        flags: PageOf[Any] = Paginator(report_reading.flags_of(source), READ_AT_ONCE).get_page(number)
        return {"page": flags, "flagged": report_reading.flagged(source, flags)}
    return {}


def selected(request: HttpRequest, study: Study) -> Source:
    """The part of the study that the address asks for; 404 where there is no such part."""
    form = SelectionForm(request.GET, study=study)
    if not form.is_valid():
        raise Http404
    return report.source_of(study, form.selection)


@csp_replace(FIGURE_POLICY)  # type: ignore[arg-type]  # It types views as of a request alone.
def figure(request: HttpRequest, study: Study, slug: str, name: str, kind: str) -> HttpResponse:
    source = selected(request, study)
    chart = report.chart_named(report.sections(source, slug), name) if report.exists(source, slug) else None
    if chart is None:
        raise Http404
    if kind == "svg":
        return file(source, report.svg_of(chart), f"{slug}-{name}", kind, inline=True)
    from evaluation.figures import draw

    return file(source, draw(chart.data, kind="pdf"), f"{slug}-{name}", kind)


def table(request: HttpRequest, study: Study, slug: str, name: str, kind: str) -> HttpResponse:
    source = selected(request, study)
    found = report.table_named(report.sections(source, slug), name) if report.exists(source, slug) else None
    if found is None:
        raise Http404
    written = (csv_of if kind == "csv" else latex_of)(found, report.about(source, slug))
    return file(source, written.encode(), f"{slug}-{name}", kind)


def whole(request: HttpRequest, study: Study) -> HttpResponse:
    """The report as one PDF."""
    from evaluation.report_pdf import pdf_of

    source = selected(request, study)
    return file(source, pdf_of(source), "report", "pdf")


def file(source: Source, content: bytes, name: str, kind: str, *, inline: bool = False) -> HttpResponse:
    """A file that says in its name of which study it is, whether blind, and whether of a part only."""
    marks = [
        source.study.slug,
        name,
        *(["blind"] if source.blind else []),
        *(["part"] if str(source.selection) else []),
    ]
    response = HttpResponse(content, content_type=TYPES[kind])
    place = "inline" if inline else "attachment"
    response["Content-Disposition"] = f'{place}; filename="{"-".join(marks)}.{kind}"'
    return response
