"""Filters of the list of runs by what stands behind them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from annotation.models import Study
from annotation.roles import within_reach
from training.lineage import Lineage
from training.models import Run


class StudyFilter(admin.SimpleListFilter):
    title = parameter_name = "study"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        reachable = within_reach(Study.objects.all(), request.user, "training.view_run", "pk")
        return [(str(pk), title) for pk, title in reachable.values_list("pk", "title")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        known = {str(value) for value, _ in self.lookup_choices}
        if self.value() not in known:
            return queryset
        return queryset.filter(pk__in=Lineage.load().of_study(int(str(self.value()))))


class YesNoFilter(admin.SimpleListFilter):
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        if self.value() not in {"yes", "no"}:
            return queryset
        marked = self.marked(Lineage.load())
        return queryset.filter(pk__in=marked) if self.value() == "yes" else queryset.exclude(pk__in=marked)

    def marked(self, lineage: Lineage) -> set[int]:
        raise NotImplementedError


class TaintedFilter(YesNoFilter):
    title = parameter_name = "tainted"

    def marked(self, lineage: Lineage) -> set[int]:
        return lineage.tainted()


class SimulatedFilter(YesNoFilter):
    title = parameter_name = "simulated"

    def marked(self, lineage: Lineage) -> set[int]:
        return lineage.simulated()
