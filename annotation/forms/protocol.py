"""What the team asks of participants, as it is written in the admin."""

from django import forms

from annotation.forms.lines import LinesField, OptionsField
from annotation.forms.participant import STAND_ALONE
from annotation.models import ConsentDocument, QuestionnaireItem


class ConsentDocumentForm(forms.ModelForm):  # type: ignore[type-arg]
    statements = LinesField(
        help_text="One statement a line. Whoever takes part ticks each of them.",
        error_messages={"required": "Write at least one statement for people to agree to."},
    )

    class Meta:
        model = ConsentDocument
        fields = ["version", "information", "statements"]


class QuestionnaireItemForm(forms.ModelForm):  # type: ignore[type-arg]
    options = OptionsField(
        rows=10,
        help_text=(
            "One option a line: value = Label. People read the label, the value is stored. Where any number may be "
            f"chosen, these values stand alone: {', '.join(sorted(STAND_ALONE))}."
        ),
        error_messages={"required": "Write at least one option: every kind of question is answered by choosing."},
    )

    class Meta:
        model = QuestionnaireItem
        fields = ["study", "key", "position", "section", "text", "help", "kind", "options", "optional"]
