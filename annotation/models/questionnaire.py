"""Questions about the participant, and the answers."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from annotation.models.rater import Rater
from annotation.models.study import Study


class ItemKind(models.TextChoices):
    SINGLE = "single", "One choice"
    MULTIPLE = "multiple", "Any number of choices"
    LIKERT = "likert", "Agreement, 1 to 5"
    RATING = "rating", "Importance, 1 to 5"


def validate_options(options: Any) -> None:
    """Raise ValidationError unless it is a list of options that each can be told from the others when chosen."""
    if not isinstance(options, list) or not options:
        raise ValidationError("Options must be a list, at least one: every kind of question is answered by choosing.")
    seen = set()
    for number, option in enumerate(options, start=1):
        if not _is_option(option):
            raise ValidationError(
                f"Option {number} must be a value and a label, each one line of text, without = in the value."
            )
        value = option["value"].strip()
        if value in seen:
            raise ValidationError(f"Option {number}: the value {value} was given before.")
        seen.add(value)


def _is_option(option: Any) -> bool:
    """Whether it can be written as one line, `value = Label`."""
    texts = option.values() if isinstance(option, dict) and option.keys() == {"value", "label"} else ()
    lines = [text for text in texts if isinstance(text, str) and len(text.strip().splitlines()) == 1]
    return len(lines) == 2 and "=" not in option["value"]


class QuestionnaireItem(models.Model):
    study = models.ForeignKey(Study, models.CASCADE, related_name="questionnaire_items")
    key = models.SlugField()
    position = models.PositiveSmallIntegerField()
    section = models.CharField(max_length=80)
    text = models.CharField(max_length=300)
    help = models.CharField(max_length=300, blank=True)
    kind = models.CharField(max_length=8, choices=ItemKind)
    options = models.JSONField(
        default=list, validators=[validate_options], help_text="Values and labels to choose from, in order"
    )
    optional = models.BooleanField(default=True)

    class Meta:
        ordering = ["study", "position"]
        constraints = [
            models.UniqueConstraint(fields=["study", "key"], name="item_key_once_a_study"),
            models.UniqueConstraint(fields=["study", "position"], name="item_position_once_a_study"),
            models.CheckConstraint(condition=models.Q(kind__in=ItemKind.values), name="item_kind_known"),
        ]

    def __str__(self) -> str:
        return self.key


class Answer(models.Model):
    """What a rater answered. An empty value is a question seen and left blank; no row is one not seen yet."""

    rater = models.ForeignKey(Rater, models.CASCADE, related_name="answers")
    item = models.ForeignKey(QuestionnaireItem, models.PROTECT, related_name="answers")
    value = models.JSONField(help_text="One option's value, or a list of them")
    answered_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["rater", "item"], name="answer_once_an_item")]

    def __str__(self) -> str:
        return f"{self.rater}: {self.item}"
