"""What the team asks of participants, as it is written in the admin."""

from django import forms

from annotation.forms.lines import LinesField
from annotation.models import ConsentDocument


class ConsentDocumentForm(forms.ModelForm):  # type: ignore[type-arg]
    statements = LinesField(
        help_text="One statement a line. Whoever takes part ticks each of them.",
        error_messages={"required": "Write at least one statement for people to agree to."},
    )

    class Meta:
        model = ConsentDocument
        fields = ["version", "information", "statements"]
