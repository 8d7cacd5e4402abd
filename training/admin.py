"""Runs and data sets with their provenance: all of it to be read."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, F, FloatField, Func, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from annotation.admin_access import ReadOnlyAdmin
from annotation.models import Rater
from annotation.roles import studies_with
from training.lineage import Lineage
from training.models import PreferenceDataset, Run
from training.run_filters import SimulatedFilter, StudyFilter, TaintedFilter
from training.run_pages import HEADLINES, comparison_of, duration, headline, page_of, state_of

# Runs of the same kind that the page of a run offers for a comparison, the latest first.
OFFERED = 50
OF_REACH = admin.RelatedOnlyFieldListFilter


@admin.register(PreferenceDataset)
class PreferenceDatasetAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "study", "criterion", "pairs", "rankings", "simulated", "tainted", "created_at"]
    list_filter = [("study", OF_REACH), ("criterion", OF_REACH)]
    list_select_related = ["study", "criterion"]
    exclude = ["raters"]
    readonly_fields = ["simulated", "tainted"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PreferenceDataset]:
        datasets: QuerySet[PreferenceDataset] = super().get_queryset(request)
        of_it = Rater.objects.filter(preference_datasets=OuterRef("pk"))
        return datasets.annotate(
            has_simulated=Exists(of_it.filter(simulated=True)),
            has_withdrawn=Exists(of_it.filter(withdrawn_at__isnull=False)),
        )

    @admin.display(boolean=True, description="simulated raters")
    def simulated(self, dataset: Any) -> bool:
        return bool(dataset.has_simulated)

    @admin.display(boolean=True, description="holds withdrawn raters")
    def tainted(self, dataset: Any) -> bool:
        return bool(dataset.has_withdrawn)


class FinalLoss(Func):
    """The last loss of a run's curve, read in the database: the curve itself may be long."""

    output_field = FloatField()
    template = "JSON_EXTRACT(%(expressions)s, '$.curves.loss[#-1][1]')"

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(%(expressions)s #>> '{curves,loss,-1,1}')::double precision"
        return self.as_sql(compiler, connection, template=template, **context)


class RunChangeList(ChangeList):
    """Rows that know whether simulated or withdrawn raters stand behind them: asked once, not row by row."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Run]:
        runs: QuerySet[Run] = super().get_queryset(request, exclude_parameters)
        # Curves and configs can be long: the list takes from them what it shows.
        return runs.defer("config", "metrics").annotate(
            final_loss=FinalLoss("metrics"),
            **{f"figure_{name}": F(f"metrics__{name}") for name in HEADLINES},
        )

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        lineage = Lineage.load()
        marked = {"simulated": lineage.simulated(), "tainted": lineage.tainted()}
        for run in self.result_list:
            run.marks = [mark for mark, runs in marked.items() if run.pk in runs]


class ComparisonForm(forms.Form):
    """The two runs of an address such as compare/?a=3&b=5."""

    a = forms.ModelChoiceField(Run.objects.none())
    b = forms.ModelChoiceField(Run.objects.none())

    def __init__(self, *args: Any, runs: QuerySet[Run], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.queryset = runs  # type: ignore[attr-defined]  # Both choose among records.


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "criterion", "state", "key_figure", "began"]
    list_filter = ["kind", "status", StudyFilter, TaintedFilter, SimulatedFilter]
    list_select_related = ["criterion"]
    list_per_page = 50
    search_fields = ["name"]
    actions = ["compare"]

    class Media:
        css = {"all": ["runs.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """A run may concern several studies, and some none: those are for who sees every study."""
        runs: QuerySet[Run] = admin.ModelAdmin.get_queryset(self, request)
        studies = studies_with(request.user, "training.view_run")
        if studies is None:
            return runs
        lineage = Lineage.load()
        return runs.filter(pk__in={run for study in studies for run in lineage.of_study(study)})

    def allows(self, request: HttpRequest, action: str, obj: Any) -> bool:
        return super().allows(request, action, None)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RunChangeList

    @admin.display(description="status", ordering="status")
    def state(self, run: Any) -> SafeString:
        marks = format_html_join(" ", '<span class="run-mark run-{}">{}</span>', ((mark, mark) for mark in run.marks))
        return format_html("{} {}", state_of(run), marks)

    @admin.display(description="key figure")
    def key_figure(self, run: Any) -> SafeString | str:
        figures = {name: getattr(run, f"figure_{name}") for name in HEADLINES}
        row = headline(figures, run.final_loss)
        return (
            format_html("{}<small>{}</small>", row.value.text, ", ".join(filter(None, [row.name, row.value.small])))
            if row
            else ""
        )

    @admin.display(description="began, took", ordering="started_at")
    def began(self, run: Run) -> SafeString:
        took = duration(run.started_at, run.finished_at) if run.finished_at else ""
        return format_html("{}<small>{}</small>", date_format(run.started_at, "j M Y"), took)

    @admin.action(description="Compare two runs", permissions=["view"])
    def compare(self, request: HttpRequest, runs: QuerySet[Run]) -> HttpResponse | None:
        chosen = list(runs.order_by("pk").values_list("pk", flat=True))
        if len(chosen) != 2:
            self.message_user(request, f"Select two runs to compare: you selected {len(chosen)}.", messages.WARNING)
            return None
        query = urlencode({"a": chosen[0], "b": chosen[1]})
        return redirect(f"{reverse('admin:training_run_compare')}?{query}")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.compare_view)
        return [path("compare/", view, name="training_run_compare"), *super().get_urls()]

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view_permission(request)
        run = self.get_object(request, object_id)
        if run is None:
            raise Http404
        others = self.get_queryset(request).filter(kind=run.kind).exclude(pk=run.pk).values_list("pk", "name")[:OFFERED]
        context = {"page": page_of(run), "children": run.children.order_by("pk").only("name", "kind"), "others": others}
        return self.page(request, "run", f"Run: {run.name}", context)

    @method_decorator(require_safe)
    def compare_view(self, request: HttpRequest) -> HttpResponse:
        self.require_view_permission(request)
        form = ComparisonForm(request.GET, runs=self.get_queryset(request))
        if not form.is_valid():
            raise Http404
        first, second = form.cleaned_data["a"], form.cleaned_data["b"]
        context = {"comparison": comparison_of(first, second)}
        return self.page(request, "compare", f"Compare: {first.name} and {second.name}", context)

    def require_view_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/training/run/{name}.html", context)
