"""A clinician's verdicts on one pair."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core import signing
from django.utils import timezone
from django.utils.text import get_text_list

from annotation.errors import StudyError
from annotation.models import Assignment, Choice, Criterion, FlagKind, Side


class VerdictsForm(forms.Form):
    """A field per judged criterion, named criterion-KEY, any of which may be empty, and the rater's reason.

    A field that is sent and empty takes its verdict back; one that is not sent leaves it as it is.

    `shown` carries, signed, when the page was made. So GET writes nothing, and `opened_at` is the time of the page on
    which the first verdict was given: a pair opened before a break does not count the break.
    """

    shown = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="Your reason, in your own words",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "aria-describedby": "reason-help"}),
    )
    use_required_attribute = False

    def __init__(self, data: Any = None, *, assignment: Assignment) -> None:
        super().__init__(data)
        self.assignment = assignment
        self.criteria = list(assignment.comparison.study.criteria.filter(judged=True))
        self.salt = f"annotation.assignment.{assignment.pk}"
        self.initial["shown"] = signing.dumps(timezone.now().timestamp(), salt=self.salt)
        self.initial["reason"] = assignment.reason
        self.fields["reason"].disabled = assignment.submitted_at is not None
        stored = dict(assignment.verdicts.values_list("criterion", "choice"))
        for criterion in self.criteria:
            self.fields[f"criterion-{criterion.key}"] = forms.ChoiceField(
                label=criterion.name,
                choices=Choice.choices,
                initial=stored.get(criterion.pk),
                required=False,
                disabled=assignment.submitted_at is not None,
                widget=forms.RadioSelect,
            )

    def verdict_fields(self) -> list[forms.BoundField]:
        return [self[f"criterion-{criterion.key}"] for criterion in self.criteria]

    def chosen(self) -> dict[Criterion, Choice]:
        """The verdicts given so far."""
        values = {criterion: self.cleaned_data.get(f"criterion-{criterion.key}") for criterion in self.criteria}
        return {criterion: Choice(value) for criterion, value in values.items() if value}

    def emptied(self) -> list[Criterion]:
        """The criteria whose verdict is taken back."""
        return [criterion for criterion in self.criteria if self.data.get(f"criterion-{criterion.key}") == ""]

    def keep_reason(self) -> None:
        if "reason" in self.data:
            self.assignment.explain(self.cleaned_data["reason"])

    def clean_shown(self) -> datetime:
        """When the page was made; now if its signature is missing or broken."""
        try:
            stamp = signing.loads(self.cleaned_data["shown"], salt=self.salt)
        except signing.BadSignature:
            return timezone.now()
        return datetime.fromtimestamp(stamp, tz=UTC)

    def record(self) -> bool:
        """Keep the verdicts given so far; whether that was possible. If not, the form says why."""
        try:
            self.assignment.note_opened(self.cleaned_data["shown"])
            for criterion, choice in self.chosen().items():
                self.assignment.record(criterion, choice)
            for criterion in self.emptied():
                self.assignment.take_back(criterion)
            self.keep_reason()
        except StudyError as error:
            self.add_error(None, str(error).capitalize())
        return not self.errors


class CompleteVerdictsForm(VerdictsForm):
    """Valid with a verdict on each criterion alone."""

    def clean(self) -> None:
        missing = [criterion.name for criterion in self.criteria if criterion not in self.chosen()]
        if missing:
            raise forms.ValidationError(f"Please choose A, tie, B or cannot judge for {get_text_list(missing, 'and')}.")

    def submit(self) -> bool:
        """Close the assignment with these verdicts; whether that was possible. If not, the form says why."""
        try:
            self.assignment.note_opened(self.cleaned_data["shown"])
            self.keep_reason()
            self.assignment.submit(self.chosen())
        except StudyError as error:
            self.add_error(None, str(error).capitalize())
        return not self.errors


class FlagForm(forms.Form):
    """A warning about a response; the button `remove` carries SIDE:KIND of one that is to go."""

    side = forms.ChoiceField(label="Which response", choices=Side.choices, widget=forms.RadioSelect)
    kind = forms.ChoiceField(label="What is wrong", choices=FlagKind.choices)
    note = forms.CharField(label="Note (optional)", required=False, max_length=500)
    use_required_attribute = False

    def __init__(self, data: Any = None, *, assignment: Assignment) -> None:
        super().__init__(data, prefix="flag")
        self.assignment = assignment

    def save(self) -> bool:
        """Keep the flag; whether that was possible. If not, the form says why."""
        try:
            chosen = self.cleaned_data
            self.assignment.flag(Side(chosen["side"]), FlagKind(chosen["kind"]), chosen["note"])
        except StudyError as error:
            self.add_error(None, str(error).capitalize())
        return not self.errors

    def remove(self, name: str) -> bool:
        """Take the flag of that name back; whether that was possible."""
        side, _, kind = name.partition(":")
        try:
            self.assignment.unflag(Side(side), FlagKind(kind))
        except (StudyError, ValueError):
            return False
        return True
