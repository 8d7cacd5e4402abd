"""What was learned from what: data sets, runs, rewards."""

from pathlib import Path

from django.conf import settings
from django.db import models

from annotation.models import Criterion, Rater, Response, Study, System


class PreferenceDataset(models.Model):
    """Preference pairs of one criterion, exported once and never changed."""

    study = models.ForeignKey(Study, models.PROTECT, related_name="preference_datasets")
    criterion = models.ForeignKey(Criterion, models.PROTECT, related_name="+")
    raters = models.ManyToManyField(Rater, related_name="preference_datasets", help_text="Whose rankings it holds")
    filters = models.JSONField(default=dict, help_text="split, format, pairs and every other choice of the export")
    aggregation = models.CharField(max_length=40, default="weighted_voting")
    content_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256 over the data files and the filters")
    path = models.CharField(max_length=500)
    pairs = models.PositiveIntegerField()
    rankings = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.criterion} {self.content_hash[:8]}"

    @property
    def folder(self) -> Path:
        return Path(settings.VAR_DIR) / self.path

    @property
    def is_tainted(self) -> bool:
        """Whether someone whose rankings it holds has withdrawn since."""
        return self.raters.filter(withdrawn_at__isnull=False).exists()

    @property
    def is_simulated(self) -> bool:
        return self.raters.filter(simulated=True).exists()


class RunKind(models.TextChoices):
    REWARD_MODEL = "reward_model", "Reward model"
    SFT = "sft", "SFT"
    DPO = "dpo", "DPO"
    MODPO = "modpo", "MODPO"
    JOINT_DPO = "joint_dpo", "Joint-loss DPO"
    MERGE = "merge", "Merged adapters"
    SWEEP = "sweep", "Sweep over weights"
    GENERATION = "generation", "Generation"


ADAPTER_KINDS = (RunKind.SFT, RunKind.DPO, RunKind.MODPO, RunKind.JOINT_DPO, RunKind.MERGE)


class RunStatus(models.TextChoices):
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class Run(models.Model):
    """One execution of a training or generation command, with all that made it."""

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=12, choices=RunKind)
    status = models.CharField(max_length=8, choices=RunStatus, default=RunStatus.RUNNING)
    config = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict)
    environment = models.JSONField(default=dict, help_text="git commit, library versions, seed, machine")
    error = models.TextField(blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="Folder of artefacts, below ATTUNE_VAR or absolute")
    criterion = models.ForeignKey(Criterion, models.PROTECT, null=True, blank=True, related_name="runs")
    datasets = models.ManyToManyField(PreferenceDataset, related_name="runs", blank=True)
    parents = models.ManyToManyField("self", symmetrical=False, related_name="children", blank=True)
    system = models.ForeignKey(
        System,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="runs",
        help_text="The system a generation wrote for",
    )
    rater = models.ForeignKey(
        Rater,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="personal_runs",
        help_text="The person whose stated importance made its weights",
    )
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=RunKind.values), name="run_kind_known"),
            models.CheckConstraint(condition=models.Q(status__in=RunStatus.values), name="run_status_known"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        return Path(settings.VAR_DIR) / self.path

    @property
    def learned_criteria(self) -> list[str]:
        """Keys of the criteria that a reward model scores: several where they share an encoder."""
        return self.config.get("criteria") or [key for key in [self.config.get("criterion")] if key]

    def lineage(self) -> "models.QuerySet[Run]":
        """This run and every run it was made from, however far back."""
        known, frontier = {self.pk}, {self.pk}
        while frontier:
            frontier = set(Run.objects.filter(children__in=frontier).values_list("pk", flat=True)) - known
            known |= frontier
        return Run.objects.filter(pk__in=known)

    @property
    def is_tainted(self) -> bool:
        """Whether it or an ancestor learned from, or was made for, someone who has withdrawn since."""
        return (
            PreferenceDataset.objects.filter(runs__in=self.lineage(), raters__withdrawn_at__isnull=False).exists()
            or self.lineage().filter(rater__withdrawn_at__isnull=False).exists()
        )

    @property
    def is_simulated(self) -> bool:
        """Whether it or an ancestor learned from, or was made for, simulated raters."""
        return (
            PreferenceDataset.objects.filter(runs__in=self.lineage(), raters__simulated=True).exists()
            or self.lineage().filter(rater__simulated=True).exists()
        )


class Reward(models.Model):
    """A reward model's score of a response on a criterion, of which a shared encoder has several."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="rewards")
    criterion = models.SlugField(help_text="Key of the criterion")
    response = models.ForeignKey(Response, models.CASCADE, related_name="rewards")
    raw = models.FloatField(help_text="The scalar head's output")
    value = models.FloatField(help_text="Normalised: mean 0 and deviation 1 over the run's training responses")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "response", "criterion"], name="reward_once_a_response")]

    def __str__(self) -> str:
        return f"{self.run}: {self.value:.3f}"
