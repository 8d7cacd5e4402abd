"""Designs of clinician studies in the admin: drawn by a form, read on a page, opened or discarded there.

The page is blind: of each pair it knows the stratum, and of systems only which are compared.
"""

from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotation.admin_access import ReadOnlyAdmin, StudyRecordAdmin
from annotation.blinding_check import kept_check
from annotation.design_summary import SECONDS_A_VERDICT, WORDS_A_MINUTE, DesignSummary, summarise_design
from annotation.designs import discard_design, open_design
from annotation.errors import StudyError
from annotation.models import JudgingDesign, Study, StudyStatus
from evaluation.design_forms import AssumptionsForm, DesignForm, OpeningForm, StudyForm

READ_AT_ONCE = 20
TEMPLATES = "admin/annotation/judgingdesign"


@admin.register(JudgingDesign)
class JudgingDesignAdmin(ReadOnlyAdmin):
    list_display = ["name", "study", "prompts", "pairs", "clinicians_a_pair", "opened_at"]
    list_filter = [("study", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["study"]

    class Media:
        css = {"all": ["report.css", "design.css"]}

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return StudyRecordAdmin.has_add_permission(self, request, *args)

    def get_queryset(self, request: HttpRequest) -> QuerySet[JudgingDesign]:
        designs: QuerySet[JudgingDesign] = super().get_queryset(request)
        return designs.annotate(drawn=Count("comparisons", filter=Q(comparisons__calibration=False)))

    @admin.display(description="pairs")
    def pairs(self, design: Any) -> int:
        return int(design.drawn)

    @admin.display(description="clinicians a pair", ordering="raters_per_pair", empty_value="all")
    def clinicians_a_pair(self, design: JudgingDesign) -> int | None:
        return design.raters_per_pair

    def get_urls(self) -> list[URLPattern]:
        acts = [
            path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"annotation_judgingdesign_{name}")
            for name, view in (("open", self.open_view), ("discard", self.discard_view))
        ]
        texts = self.admin_site.admin_view(self.phrases_view)
        return [
            *acts,
            path("<int:pk>/phrases/", texts, name="annotation_judgingdesign_phrases"),
            *super().get_urls(),
        ]

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        study = self.chosen_study(request)
        if study is None:
            return self.page(
                request, "choose_study", "Design a clinician study", {"form": StudyForm(user=request.user)}
            )
        data, files = (request.POST, request.FILES) if request.method == "POST" else (None, None)
        form = DesignForm(data, files, study=study)
        design = form.draw(by=cast("User", request.user)) if form.is_valid() else None
        if design:
            return redirect("admin:annotation_judgingdesign_change", design.pk)
        status = 422 if form.is_bound else 200
        return self.page(request, "add", "Design a clinician study", {"form": form, "study": study}, status=status)

    def chosen_study(self, request: HttpRequest) -> Study | None:
        """The study that the address names; null where it names none. 404 where it cannot be designed."""
        if "study" not in request.GET:
            return None
        form = StudyForm(request.GET, user=request.user)
        if not form.is_valid():
            raise Http404
        study: Study = form.cleaned_data["study"]
        return study

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self.review(request, self.viewable(request, object_id), OpeningForm())

    @method_decorator(require_safe)
    def phrases_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        design = self.viewable(request, str(pk))
        page: Page[Any] = Paginator(kept_check(design).telling, READ_AT_ONCE).get_page(request.GET.get("page"))
        return self.page(request, "phrases", f"Phrases found: {design}", {"design": design, "page": page})

    @method_decorator(require_POST)
    def open_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        design = self.advanceable(request, pk)
        form = OpeningForm(request.POST)
        if not form.is_valid():
            return self.review(request, design, form, status=422)
        return self.act(request, design, open_design, f"Design {design} is open for clinicians.")

    @method_decorator(require_POST)
    def discard_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        design = self.advanceable(request, pk)
        return self.act(request, design, discard_design, f"Design {design} was discarded. Its prompts are free again.")

    def act(
        self, request: HttpRequest, design: JudgingDesign, verb: Callable[..., None], done: str
    ) -> HttpResponseRedirect:
        pk = design.pk
        try:
            verb(design, by=request.user)
        except StudyError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:annotation_judgingdesign_change", pk)
        self.message_user(request, done, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:annotation_judgingdesign_changelist"))

    def viewable(self, request: HttpRequest, pk: str) -> JudgingDesign:
        """The design, if there is one and it may be seen."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        design: JudgingDesign | None = self.get_object(request, pk)
        if design is None:
            raise Http404
        return design

    def advanceable(self, request: HttpRequest, pk: int) -> JudgingDesign:
        design = self.viewable(request, str(pk))
        if not request.user.has_perm("annotation.advance_study", design.study):
            raise PermissionDenied
        return design

    def review(self, request: HttpRequest, design: JudgingDesign, opening: OpeningForm, **kwargs: Any) -> HttpResponse:
        summary = summarise_design(design)
        context = {
            "telltales": kept_check(design),
            "design": design,
            "summary": summary,
            "opening": opening,
            "may_open": self.may_open(request, design),
            "words": WORDS_A_MINUTE,
            "seconds": SECONDS_A_VERDICT,
            **precision_context(request, design, summary),
        }
        return self.page(request, "review", f"Design: {design}", context, **kwargs)

    def may_open(self, request: HttpRequest, design: JudgingDesign) -> bool:
        hidden = design.opened_at is None and design.study.status != StudyStatus.LOCKED
        return hidden and request.user.has_perm("annotation.advance_study", design.study)

    def page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        site = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{TEMPLATES}/{name}.html", {**site, **context}, **kwargs)


def precision_context(request: HttpRequest, design: JudgingDesign, summary: DesignSummary) -> dict[str, Any]:
    """The simulated precision under the assumptions of the address, where it gives any."""
    # Late: numpy and scipy come with the first design that is read, not with the site.
    from evaluation.design_precision import expectations, raters_assumed
    from evaluation.power import Assumptions

    usual = Assumptions()
    raters = raters_assumed(design, summary.clinicians)
    shares = {name: f"{100 * share:g}" for name, share in zip(("a", "tie", "b"), usual.shares, strict=True)}
    form = AssumptionsForm({"raters": raters, **shares, "beyond_chance": usual.beyond_chance, **request.GET.dict()})
    if not form.is_valid():
        return {"assumptions": form, "expected": []}
    given = form.cleaned_data
    asked = Assumptions(**{name: given[name] / 100 for name in ("a", "tie", "b")}, beyond_chance=given["beyond_chance"])
    return {"assumptions": form, "expected": expectations(design, raters=given["raters"], assumptions=asked)}
