"""What participants send: a decision, answers, a ranking."""

from collections import defaultdict
from typing import Any

from django import forms
from django.db import transaction

from annotation.models import Answer, ConsentDocument, ItemKind, QuestionnaireItem, Rater, Response, TaskResponse

# Choices of a "multiple" item that say there is nothing to choose.
STAND_ALONE = {"none", "never", "no_uses", "not_sure", "prefer_not_to_say"}


class DecisionForm(forms.Form):
    """Agree needs every statement ticked; "No, thank you" needs nothing."""

    decision = forms.ChoiceField(choices=[("agree", "I agree"), ("decline", "No, thank you")])

    def __init__(self, data: Any = None, *, document: ConsentDocument) -> None:
        super().__init__(data)
        for number, statement in enumerate(document.statements, start=1):
            self.fields[f"statement_{number}"] = forms.BooleanField(label=statement, required=False)

    def statements(self) -> list[forms.BoundField]:
        return [field for field in self if field.name.startswith("statement_")]

    @property
    def agreed(self) -> bool:
        return bool(self.cleaned_data["decision"] == "agree")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        open_statements = [name for name in self.fields if name.startswith("statement_") and not data.get(name)]
        if data.get("decision") == "agree" and open_statements:
            for name in open_statements:
                self.add_error(name, "Tick this if you agree with it.")
            raise forms.ValidationError(
                "To take part, tick every statement. If you do not agree with one of them, choose No, thank you."
            )
        return data


class QuestionnaireForm(forms.Form):
    """One section's items as fields named by their key."""

    def __init__(self, data: Any = None, *, items: list[QuestionnaireItem], rater: Rater) -> None:
        self.items = items
        self.rater = rater
        kept = Answer.objects.filter(rater=rater, item__in=items).values_list("item__key", "value")
        super().__init__(data, initial=dict(kept))
        for item in items:
            self.fields[item.key] = _field(item)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        for item in self.items:
            chosen = data.get(item.key)
            alone = STAND_ALONE.intersection(chosen) if isinstance(chosen, list) else set()
            if alone and len(chosen or []) > 1:
                label = next(o["label"] for o in item.options if o["value"] in alone)
                self.add_error(item.key, f"Choose either {label} or the others, not both.")
        return data

    @transaction.atomic
    def save(self) -> None:
        for item in self.items:
            value = self.cleaned_data[item.key]
            Answer.objects.update_or_create(rater=self.rater, item=item, defaults={"value": value})


def _field(item: QuestionnaireItem) -> forms.Field:
    choices = [(option["value"], option["label"]) for option in item.options]
    common: dict[str, Any] = {
        "label": item.text,
        "help_text": item.help,
        "required": not item.optional,
        "error_messages": {"required": "Choose an answer to go on."},
    }
    if item.kind == ItemKind.MULTIPLE:
        return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple, **common)
    return forms.ChoiceField(choices=choices, widget=forms.RadioSelect, **common)


class RankingForm(forms.Form):
    """A rank for each response of the task. Fields go by letter, as ids could tell who wrote what."""

    def __init__(self, data: Any = None, *, shown: list[TaskResponse], ranks: dict[str, int]) -> None:
        """`ranks` maps response ids, as text, to ranks chosen before."""
        self.shown = shown
        super().__init__(data, initial={name_of(place): ranks.get(str(place.response_id), "") for place in shown})
        size = len(shown)
        ends = {1: "1 (best)", size: f"{size} (worst)"}
        choices = [("", "Not ranked"), *((rank, ends.get(rank, str(rank))) for rank in range(1, size + 1))]
        for place in shown:
            self.fields[name_of(place)] = forms.TypedChoiceField(
                label=f"Rank of response {place.letter}",
                choices=choices,
                coerce=int,
                empty_value=None,
                required=False,
                widget=forms.Select(attrs={"class": "rank-select", "autocomplete": "off"}),
            )

    def cards(self) -> list[tuple[TaskResponse, forms.BoundField]]:
        return [(place, self[name_of(place)]) for place in self.shown]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if any(name.startswith("rank_") and name not in self.fields for name in self.data):
            raise forms.ValidationError("This ranking belongs to another post. Reload the page and try again.")
        letters: defaultdict[int, list[str]] = defaultdict(list)
        for place in self.shown:
            if (rank := data.get(name_of(place))) is not None:
                letters[rank].append(place.letter)
        for rank, same in sorted(letters.items()):
            if len(same) > 1:
                self.add_error(None, f"Responses {spoken(same)} share rank {rank}. Give each its own.")
        missing = [place.letter for place in self.shown if data.get(name_of(place)) is None]
        if missing:
            noun = "Response" if len(missing) == 1 else "Responses"
            verb = "has" if len(missing) == 1 else "have"
            self.add_error(None, f"{noun} {spoken(missing)} {verb} no rank yet.")
        return data

    @property
    def order(self) -> list[Response]:
        """The responses, best first."""
        return [place.response for place in sorted(self.shown, key=lambda place: self.cleaned_data[name_of(place)])]

    def draft(self) -> dict[str, int]:
        """What was chosen so far, complete or not."""
        self.full_clean()
        ranks = {str(place.response_id): self.cleaned_data.get(name_of(place)) for place in self.shown}
        return {response: rank for response, rank in ranks.items() if rank is not None}


def name_of(place: TaskResponse) -> str:
    return f"rank_{place.letter}"


def spoken(letters: list[str]) -> str:
    """A, B and C."""
    return " and ".join(filter(None, [", ".join(letters[:-1]), letters[-1]]))
