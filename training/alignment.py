"""A DPO or MODPO run from its pairs and rewards to the recorded adapter. DPO is MODPO with one criterion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from training.base_models import resolve_model
from training.models import Run
from training.modpo import RewardKey, Weights, shifts
from training.recipes import PolicyRecipe
from training.runs import RunPlan, plain, recorded_run
from training.sources import PairSource, hold_out

HELD_OUT = 0.1


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What a policy is trained on, and how. `rewards` are those of the criteria in the margin."""

    kind: str
    weights: Weights
    recipe: PolicyRecipe
    source: PairSource
    rewards: Mapping[RewardKey, float] = field(default_factory=dict)
    parents: Sequence[Run] = ()
    name: str = ""
    output: Path | None = None


def align(job: Alignment) -> Run:
    """The finished run, whose folder holds the adapter.

    Raises:
        InputError: rewards are missing or make no margin, the model cannot be loaded, the name or output is taken.
    """
    model = resolve_model(job.recipe.model)
    beta = job.recipe.beta
    pairs, held_out = hold_out(job.source.pairs, share=HELD_OUT, seed=job.recipe.seed)
    train_shifts = shifts(pairs, job.weights, job.rewards, beta=beta)
    held_out_shifts = shifts(held_out, job.weights, job.rewards, beta=beta, refuse_flat=False)
    plan = RunPlan(
        kind=job.kind,
        config={"criterion": job.weights.primary, "weights": dict(job.weights.values), **plain(job.recipe)},
        name=job.name,
        stem=f"{job.kind}-{job.weights.primary}",
        output=job.output,
        criterion=job.source.criterion,
        datasets=job.source.datasets,
        files=job.source.files,
        parents=job.parents,
    )
    with recorded_run(plan) as run:
        from training.policy import PolicyTask, train_policy
        from training.reference_cache import ReferenceCache

        task = PolicyTask(
            source=model,
            recipe=job.recipe,
            weights=job.weights,
            pairs=pairs,
            shifts=train_shifts,
            held_out=held_out,
            held_out_shifts=held_out_shifts,
        )
        cache = ReferenceCache(Path(settings.VAR_DIR) / "cache" / "reference_logps.sqlite3")
        run.metrics.update(train_policy(task, run.folder, cache))
    return run.row


def result_line(run: Run) -> str:
    preference, curve = run.metrics["held_out_preference"], run.metrics["loss_curve"]
    return (
        f"{run.name}: loss {curve[0][1]:.3f} -> {curve[-1][1]:.3f} in {curve[-1][0]} steps, "
        f"{run.metrics['seconds']:.0f} s; orders {preference['value']:.0%} ({preference['low']:.0%} to "
        f"{preference['high']:.0%}) of {preference['n']} held-out pairs rightly; {run.folder}"
    )
