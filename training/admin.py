"""Runs and data sets with their provenance."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from annotation.admin import ReadOnlyAdmin
from annotation.models import Rater
from training.models import PreferenceDataset, Run


@admin.register(PreferenceDataset)
class PreferenceDatasetAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "study", "criterion", "pairs", "rankings", "simulated", "tainted", "created_at"]
    list_filter = ["study", "criterion"]
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


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "status", "criterion", "simulated", "started_at", "finished_at"]
    list_filter = ["kind", "status"]
    list_select_related = ["criterion"]
    search_fields = ["name"]
    exclude = ["parents", "datasets"]
    readonly_fields = ["provenance", "simulated", "tainted"]

    @admin.display(description="made from")
    def provenance(self, run: Run) -> SafeString:
        """Links to the runs and data sets that this run was made from."""
        links = [
            (reverse("admin:training_run_change", args=[parent.pk]), f"run {parent}") for parent in run.parents.all()
        ] + [
            (reverse("admin:training_preferencedataset_change", args=[dataset.pk]), f"data set {dataset}")
            for dataset in run.datasets.select_related("criterion")
        ]
        return format_html_join(", ", '<a href="{}">{}</a>', links) or format_html("nothing of this site")

    @admin.display(boolean=True, description="simulated raters")
    def simulated(self, run: Run) -> bool:
        # As recorded when it began: the list must not walk every run's lineage.
        return bool(run.environment.get("simulated", False))

    @admin.display(boolean=True, description="holds withdrawn raters")
    def tainted(self, run: Run) -> bool:
        return run.is_tainted
