"""Which part of a study a report tells of."""

from typing import Any
from urllib.parse import urlencode

from django import forms

from annotation.models import Comparison, RaterKind, Study
from evaluation.report_source import Selection


class SelectionForm(forms.Form):
    """A stratum and a set of raters; none of either means all. While blind there are no judges to choose."""

    stratum = forms.ChoiceField(required=False)
    raters = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, study: Study, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = [RaterKind.CLINICIAN, *([RaterKind.JUDGE] if study.unblinded_at else [])]
        raters = study.raters.active().filter(kind__in=kinds).order_by("kind", "pk").values_list("name", flat=True)
        strata = Comparison.objects.filter(study=study).exclude(stratum="").order_by("stratum")
        names = list(strata.values_list("stratum", flat=True).distinct())
        self.fields["stratum"].choices = [("", "All strata"), *zip(names, names, strict=True)]  # type: ignore[attr-defined]
        self.fields["raters"].choices = [(name, name) for name in raters]  # type: ignore[attr-defined]
        self.has_strata = bool(names)

    @property
    def selection(self) -> Selection:
        return Selection(self.cleaned_data["stratum"], tuple(self.cleaned_data["raters"]))

    @property
    def query(self) -> str:
        """The selection as it stands in addresses; empty where everything is shown."""
        chosen = self.selection
        pairs = [("stratum", chosen.stratum)] if chosen.stratum else []
        return urlencode([*pairs, *(("raters", name) for name in chosen.raters)])
