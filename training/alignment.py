"""An alignment run from its pairs and rewards to the recorded adapter, whatever the method. DPO is MODPO with one
criterion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from training.base_models import resolve_model
from training.distributed import processes, require_launch, train_together
from training.models import Run, RunKind
from training.modpo import RewardKey, Weights, shifts
from training.pairs import require_one_prompt
from training.recipes import PolicyRecipe
from training.runs import RunPlan, plain, recorded_run
from training.sources import PairSource, hold_out, hold_out_prompts

if TYPE_CHECKING:
    from training.policy import PolicyTask

HELD_OUT = 0.1
LEFT_OUT: dict[str, str] = {RunKind.JOINT_DPO: "for which another criterion has none on the same prompt"}


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What a policy is trained on, and how: a source of pairs a criterion that brings its own.

    `rewards` are those of the criteria in the margin of MODPO.
    """

    kind: str
    weights: Weights
    recipe: PolicyRecipe
    sources: Mapping[str, PairSource]
    rewards: Mapping[RewardKey, float] = field(default_factory=dict)
    parents: Sequence[Run] = ()
    name: str = ""
    output: Path | None = None
    report_to: tuple[str, ...] = ()

    @property
    def source(self) -> PairSource:
        """Of the primary criterion."""
        return self.sources[self.weights.primary]


def align(job: Alignment) -> Run:
    """The finished run, whose folder holds the adapter.

    The same job again, after its process was killed, goes on from the last checkpoint.

    Raises:
        InputError: rewards are missing or make no margin, the model cannot be loaded or sharded, the name or output is
            taken.
    """
    require_launch(four_bit=job.recipe.four_bit)
    model = resolve_model(job.recipe.model)
    for source in job.sources.values():
        require_one_prompt(source.pairs)
    task = TASKS[job.kind](job, model)
    plan = RunPlan(
        kind=job.kind,
        config={
            "criterion": job.weights.primary,
            "weights": dict(job.weights.values),
            **plain(job.recipe),
            "processes": processes(),
        },
        name=job.name,
        stem=f"{job.kind}-{job.weights.primary}".replace("_", "-"),
        output=job.output,
        criterion=job.source.criterion,
        datasets=[dataset for source in job.sources.values() for dataset in source.datasets],
        files=[file for source in job.sources.values() for file in source.files],
        parents=job.parents,
        resumable=True,
    )
    with recorded_run(plan) as run:
        from training.policy import Workplace
        from training.reference_cache import ReferenceCache

        cache = ReferenceCache(Path(settings.VAR_DIR) / "cache" / "reference_logps.sqlite3")
        place = Workplace(folder=run.folder, cache=cache, report_to=job.report_to)
        run.metrics.update(train_together(task, place))
    return run.row


def _preference(job: Alignment, model: str) -> "PolicyTask":
    from training.preference import PreferenceTask

    pairs, held_out = hold_out(job.source.pairs, share=HELD_OUT, seed=job.recipe.seed)
    beta = job.recipe.beta
    return PreferenceTask(
        source=model,
        recipe=job.recipe,
        weights=job.weights,
        pairs=pairs,
        shifts=shifts(pairs, job.weights, job.rewards, beta=beta),
        held_out=held_out,
        held_out_shifts=shifts(held_out, job.weights, job.rewards, beta=beta, refuse_flat=False),
    )


def _sft(job: Alignment, model: str) -> "PolicyTask":
    from training.sft import SFTTask

    pairs, held_out = hold_out(job.source.pairs, share=HELD_OUT, seed=job.recipe.seed)
    return SFTTask(source=model, recipe=job.recipe, pairs=pairs, held_out=held_out)


def _joint(job: Alignment, model: str) -> "PolicyTask":
    from training.joint_dpo import JointTask, bundles

    bundled = bundles({key: job.sources[key].pairs for key in job.weights.values})
    prompts = hold_out_prompts([bundle[0].prompt_id for bundle in bundled], share=HELD_OUT, seed=job.recipe.seed)
    return JointTask(
        source=model,
        recipe=job.recipe,
        weights=dict(job.weights.values),
        bundles=[bundle for bundle in bundled if bundle[0].prompt_id not in prompts],
        held_out=[bundle for bundle in bundled if bundle[0].prompt_id in prompts],
        dropped=sum(len(job.sources[key].pairs) for key in job.weights.values) - sum(map(len, bundled)),
    )


TASKS: dict[str, Any] = {
    RunKind.SFT: _sft,
    RunKind.DPO: _preference,
    RunKind.MODPO: _preference,
    RunKind.JOINT_DPO: _joint,
}


def result_line(run: Run) -> str:
    curve = run.metrics["curves"]["loss"]
    line = f"{run.name}: loss {curve[0][1]:.3f} -> {curve[-1][1]:.3f} in {curve[-1][0]:.0f} updates, "
    line += f"{run.metrics['seconds']:.0f} s; "
    if dropped := run.metrics.get("dropped_pairs"):
        line += f"{dropped} pairs left out, {LEFT_OUT.get(run.kind, 'whose prompts fill the window')}; "
    if preference := run.metrics.get("held_out_preference"):
        line += (
            f"orders {preference['value']:.0%} ({preference['low']:.0%} to {preference['high']:.0%}) of "
            f"{preference['n']} held-out pairs rightly; "
        )
    return line + str(run.folder)
