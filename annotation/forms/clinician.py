"""A clinician's verdicts on one pair, with a reason and safety flags."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core import signing
from django.db import transaction
from django.utils import timezone
from django.utils.text import get_text_list

from annotation.errors import StudyError
from annotation.models import Assignment, Choice, Criterion, FlagKind, SafetyFlag, Side
from annotation.working_time import BREAK

NOTE_ALONE = "Please choose under Safety flag which response it is about."
FLAG_SIDES = [("left", "A"), ("both", "Both"), ("right", "B"), ("", "None")]


class VerdictsForm(forms.Form):
    """A field per judged criterion, named criterion-KEY, and per kind of safety flag, named flag-KIND; any of them may
    be empty. What is not sent stays as it was.

    `shown` carries, signed, when the page was made. So GET writes nothing, and `opened_at` is the time of the page on
    which the first verdict was given. A pair comes with the submission of the one before, and may have stood there
    through a break: what lies longer than a break before the first act is not counted.
    """

    shown = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="Why, in your own words",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "aria-describedby": "reason-help"}),
    )
    note = forms.CharField(
        label="What you saw",
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "aria-describedby": "note-help"}),
    )
    rest = forms.ChoiceField(choices=[(Choice.CANNOT, "Cannot judge the rest")], required=False)
    use_required_attribute = False

    def __init__(self, data: Any = None, *, assignment: Assignment) -> None:
        super().__init__(data)
        self.assignment = assignment
        self.criteria = list(assignment.comparison.study.criteria.filter(judged=True))
        self.salt = f"annotation.assignment.{assignment.pk}"
        flags = list(assignment.flags.order_by("pk"))
        self.flagged = {kind: flagged_side(flags, kind) for kind in FlagKind}
        self.initial.update(
            shown=signing.dumps(timezone.now().timestamp(), salt=self.salt),
            reason=assignment.reason,
            note=flags[0].note if flags else "",
        )
        stored = dict(assignment.verdicts.values_list("criterion", "choice"))
        for criterion in self.criteria:
            self.fields[f"criterion-{criterion.key}"] = radios(criterion.name, Choice.choices, stored.get(criterion.pk))
        for kind in FlagKind:
            self.fields[f"flag-{kind}"] = radios(kind.label, FLAG_SIDES, self.flagged[kind])
        if assignment.submitted_at:
            for field in self.fields.values():
                field.disabled = True

    def verdict_fields(self) -> list[forms.BoundField]:
        return [self[f"criterion-{criterion.key}"] for criterion in self.criteria]

    def flag_fields(self) -> list[forms.BoundField]:
        return [self[f"flag-{kind}"] for kind in FlagKind]

    @property
    def words(self) -> list[str]:
        """Names of all that is no verdict."""
        return ["reason", "note", *(field.html_name for field in self.flag_fields())]

    def has_flags(self) -> bool:
        return any(field.value() for field in self.flag_fields())

    def has_words(self) -> bool:
        return self.has_flags() or bool(self["reason"].value())

    def chosen(self) -> dict[Criterion, Choice]:
        """The verdicts given so far."""
        rest = self.cleaned_data.get("rest")
        values = {c: self.cleaned_data.get(f"criterion-{c.key}") or rest for c in self.criteria}
        return {criterion: Choice(value) for criterion, value in values.items() if value}

    def clean_shown(self) -> datetime:
        """When the page was made; now if its signature is missing or broken."""
        try:
            stamp = signing.loads(self.cleaned_data["shown"], salt=self.salt)
        except signing.BadSignature:
            return timezone.now()
        return datetime.fromtimestamp(stamp, tz=UTC)

    def record(self) -> bool:
        """Keep what was given so far; whether that was possible. If not, the form says why."""
        try:
            with transaction.atomic():
                self.keep()
        except StudyError as error:
            self.add_error(None, str(error).capitalize())
        return not self.errors

    def keep(self) -> None:
        self.keep_words()
        self.assignment.keep(self.chosen())

    def keep_words(self) -> None:
        """All but the verdicts."""
        if self.assignment.opened_at is None:
            self.assignment.note_opened(max(self.cleaned_data["shown"], timezone.now() - BREAK))
        if (reason := self.given("reason")) != self.initial["reason"]:
            self.assignment.explain(reason)
        sides = {kind: self.given(f"flag-{kind}") for kind in FlagKind}
        if sides != self.flagged or self.given("note") != self.initial["note"]:
            flags = {kind: Side(side) for kind, side in sides.items() if side}
            self.assignment.flag(flags, self.given("note"))

    @property
    def note_is_alone(self) -> bool:
        """Whether there is a note on safety and no flag to keep it with."""
        return bool(self.given("note")) and not any(self.given(f"flag-{kind}") for kind in FlagKind)

    def given(self, name: str) -> str:
        """What was sent, else what is stored."""
        value: str = self.cleaned_data[name] if name in self.data else self[name].initial
        return value


class CompleteVerdictsForm(VerdictsForm):
    """Valid with a verdict on each criterion alone."""

    def clean(self) -> None:
        missing = [criterion.name for criterion in self.criteria if criterion not in self.chosen()]
        if missing:
            raise forms.ValidationError(f"Please choose A, tie, B or cannot judge for {get_text_list(missing, 'and')}.")
        # A field that is wrong itself has no value to ask for.
        if not self.errors and self.note_is_alone:
            raise forms.ValidationError(f"Your note is not kept yet. {NOTE_ALONE}")

    def keep(self) -> None:
        """Close the assignment with what was given."""
        self.keep_words()
        self.assignment.submit(self.chosen())


def radios(label: str, choices: Iterable[tuple[str, str]], initial: str | None) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=choices, initial=initial, required=False, widget=forms.RadioSelect)


def flagged_side(flags: Iterable[SafetyFlag], kind: FlagKind) -> str:
    """The side flagged for that, empty for none. Two flags, one a side, show as both."""
    sides = {flag.side for flag in flags if flag.kind == kind}
    return sides.pop() if len(sides) == 1 else Side.BOTH if sides else ""
