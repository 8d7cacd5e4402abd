"""Judges: models that give verdicts, and what they replied."""

from django.db import models

from annotation.models import Assignment, Rater, Study
from training.models import Run


class JudgeKind(models.TextChoices):
    LLM = "llm", "LLM behind an endpoint"
    REWARD_MODEL = "reward_model", "Reward models"


class Judge(models.Model):
    """Detail of a rater of kind judge. The config is fixed once the judge has voted."""

    rater = models.OneToOneField(Rater, models.CASCADE, primary_key=True, related_name="judge")
    kind = models.CharField(max_length=12, choices=JudgeKind)
    endpoint = models.CharField(max_length=300, blank=True)
    model = models.CharField(max_length=200, blank=True)
    config = models.JSONField(default=dict, help_text="temperature, seed, prompt version, tie threshold, ...")
    runs = models.ManyToManyField(Run, related_name="judges", blank=True, help_text="Reward models, one a criterion")
    is_toy = models.BooleanField(default=False, help_text="There to exercise the path; its opinions are worth nothing")

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(kind__in=JudgeKind.values), name="judge_kind_known")]

    def __str__(self) -> str:
        return self.rater.name


class JudgeReply(models.Model):
    """The raw reply behind a judge's verdicts on one presentation of a comparison."""

    assignment = models.OneToOneField(Assignment, models.CASCADE, related_name="judge_reply")
    text = models.TextField()
    prompt_tokens = models.PositiveIntegerField(null=True, blank=True)
    completion_tokens = models.PositiveIntegerField(null=True, blank=True)
    seconds = models.FloatField(help_text="From request to reply")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "judge replies"

    def __str__(self) -> str:
        return f"Reply to {self.assignment}"


class StudyReport(Study):
    """A study as its report in the admin; a permission of its own."""

    class Meta:
        proxy = True
        default_permissions = ["view"]
        ordering = ["slug"]
        verbose_name = "report"
