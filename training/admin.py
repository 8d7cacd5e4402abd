"""Runs and data sets with their provenance."""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from annotation.admin import ReadOnlyAdmin
from training.models import PreferenceDataset, Run


@admin.register(PreferenceDataset)
class PreferenceDatasetAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "study", "criterion", "pairs", "rankings", "simulated", "tainted", "created_at"]
    list_filter = ["study", "criterion"]
    list_select_related = ["study", "criterion"]
    exclude = ["raters"]
    readonly_fields = ["simulated", "tainted"]

    @admin.display(boolean=True, description="simulated raters")
    def simulated(self, dataset: PreferenceDataset) -> bool:
        return dataset.is_simulated

    @admin.display(boolean=True, description="holds withdrawn raters")
    def tainted(self, dataset: PreferenceDataset) -> bool:
        return dataset.is_tainted


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "status", "criterion", "tainted", "started_at", "finished_at"]
    list_filter = ["kind", "status"]
    list_select_related = ["criterion"]
    search_fields = ["name"]
    exclude = ["parents", "datasets"]
    readonly_fields = ["provenance", "tainted"]

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

    @admin.display(boolean=True, description="holds withdrawn raters")
    def tainted(self, run: Run) -> bool:
        return run.is_tainted
