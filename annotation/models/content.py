"""Prompts, the systems that answer them, and their responses."""

from django.db import models

from annotation.models.study import Study


class Split(models.TextChoices):
    TRAIN = "train", "Train"
    SCORER = "scorer", "Scorer"
    TEST = "test", "Test"
    CALIBRATION = "calibration", "Calibration"


class SystemKind(models.TextChoices):
    BASE = "base", "Base model"
    ADAPTER = "adapter", "Adapter of a run"
    HUMAN = "human", "Written by people"
    API = "api", "Model behind an API"


class Prompt(models.Model):
    """A help-seeking post. Train prompts teach policies and their reward models, scorer prompts teach the
    evaluating scorers alone, test prompts are for comparing systems, calibration prompts are for clinicians to practise
    on."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="prompts")
    key = models.CharField(max_length=64, help_text="question_id of the imported file")
    text = models.TextField()
    split = models.CharField(max_length=11, choices=Split, default=Split.TRAIN)
    topic = models.CharField(max_length=60, blank=True)
    risk = models.BooleanField(default=False, help_text="The post itself suggests a risk of harm")

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["study", "key"], name="prompt_key_once_a_study"),
            models.CheckConstraint(condition=models.Q(split__in=Split.values), name="prompt_split_known"),
            models.CheckConstraint(condition=~models.Q(text=""), name="prompt_text_not_empty"),
        ]
        indexes = [models.Index(fields=["study", "split"], name="prompt_study_split")]

    def __str__(self) -> str:
        return self.key


class System(models.Model):
    """Who wrote a response."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="systems")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=8, choices=SystemKind)
    description = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["study", "name"], name="system_name_once_a_study"),
            models.CheckConstraint(condition=models.Q(kind__in=SystemKind.values), name="system_kind_known"),
        ]

    def __str__(self) -> str:
        return self.name


class Response(models.Model):
    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="responses")
    system = models.ForeignKey(System, models.PROTECT, related_name="responses")
    number = models.PositiveSmallIntegerField(default=1, help_text="1..n among the system's responses to the prompt")
    key = models.CharField(max_length=120, help_text="response_id of the imported file")
    text = models.TextField()
    sampling = models.JSONField(default=dict, blank=True, help_text="model, temperature, top_p, max_new_tokens, seed")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["prompt", "key"], name="response_key_once_a_prompt"),
            models.UniqueConstraint(fields=["prompt", "system", "number"], name="response_number_once_a_system"),
            models.CheckConstraint(condition=~models.Q(text=""), name="response_text_not_empty"),
        ]

    def __str__(self) -> str:
        return self.key
