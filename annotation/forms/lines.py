"""Lists that the team writes in the admin, an entry a line."""

from typing import Any

from django import forms
from django.template.defaultfilters import linebreaksbr
from django.utils.safestring import SafeString


def as_lines(entries: Any) -> str:
    """The list a line each. What is no list, and was stored before lists were checked, shows as it is."""
    return "\n".join(map(_as_line, entries if isinstance(entries, list) else [entries]))


def _as_line(entry: Any) -> str:
    is_option = isinstance(entry, dict) and entry.keys() == {"value", "label"}
    return f"{entry['value']} = {entry['label']}" if is_option else str(entry)


class LinesInput(forms.Textarea):
    # The admin asks a widget that says so, not the model's field, what whoever may not edit sees.
    read_only = True

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """A box to write in; the lines alone where a form gives no attributes, since it shows no box."""
        if attrs is None:
            return linebreaksbr(as_lines(value), autoescape=True)
        return super().render(name, value, attrs, renderer)


class LinesField(forms.CharField):
    """Becomes the list of its lines; blank ones are left out."""

    def __init__(self, *, rows: int = 8, **kwargs: Any) -> None:
        super().__init__(widget=LinesInput(attrs={"rows": rows, "class": "vLargeTextField"}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else as_lines(value)

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]


class OptionsField(LinesField):
    """Becomes the options of lines such as `weekly = Once a week`."""

    def to_python(self, value: Any) -> Any:
        lines = super().to_python(value)
        for line in lines:
            if "=" not in line:
                raise forms.ValidationError(f'Write "{line}" as value = Label, such as weekly = Once a week.')
        parts = (line.partition("=") for line in lines)
        return [{"value": value.strip(), "label": label.strip()} for value, _, label in parts]
