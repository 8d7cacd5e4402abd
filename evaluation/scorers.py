"""Evaluating scorers: reward models that taught no policy and never saw its prompts, and their scores of systems."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from annotation.errors import InputError, StudyError
from annotation.models import Prompt, Response, Study, System
from evaluation.bootstrap import FloatArray
from training.base_models import resolve_model
from training.models import PreferenceDataset, Reward, Run, RunKind
from training.pairs import read_pairs
from training.runs import RunPlan, file_hash, read_record, recorded_run

if TYPE_CHECKING:
    from training.generation import Sampling

Track = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How systems write one response to each prompt of a split."""

    study: Study
    model: str
    split: str
    sampling: "Sampling"
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"--generation-batch {self.batch_size}: it must be 1 or more")

    @property
    def prompts(self) -> list[Prompt]:
        return list(self.study.prompts.filter(split=self.split).order_by("pk"))


def require_strangers(scorers: Iterable[Run], teachers: Iterable[Run], texts: Collection[str]) -> None:
    """Raise StudyError if a scorer is, or was made from, a reward model that teaches, or learned from one of the texts
    or from a prompt that such a reward model learned from.

    Args:
        texts: of the prompts that teach the policies and of those the policies are compared on.
    """
    teachers = list(teachers)
    teaching = {ancestor for run in teachers for ancestor in run.lineage()}
    taught = set(texts).union(*map(prompts_of, teachers))
    for run in scorers:
        if shared := teaching & set(run.lineage()):
            raise StudyError(
                f"reward model {run} cannot evaluate what {sorted(map(str, shared))[0]} taught: "
                "give one that was trained apart, on other prompts"
            )
        if seen := prompts_of(run) & taught:
            raise StudyError(
                f"reward model {run} learned from {len(seen)} of the prompts that the policies or their reward models "
                "are trained on, or that the policies are compared on: give one that was trained on other prompts"
            )


def prompts_of(run: Run) -> set[str]:
    """Texts of the prompts that a reward model may have learned from: those of its data sets' split, and of its files.

    Raises:
        StudyError: a file it learned from is gone or has changed, so that nobody can tell.
    """
    datasets = PreferenceDataset.objects.filter(runs__in=run.lineage()).distinct()
    found: set[str] = set()
    for dataset in datasets:
        split = dataset.filters.get("split")
        prompts = dataset.study.prompts.filter(split=split) if split else dataset.study.prompts.all()
        found.update(prompts.values_list("text", flat=True))
        # Prompts may have changed their split since.
        if (pairs := dataset.folder / "pairs.jsonl").is_file():
            found.update(pair.prompt for pair in read_pairs(pairs))
    for entry in read_record(run.folder).get("files", []):
        file = Path(entry["path"])
        if not file.is_file() or file_hash(file) != entry["sha256"]:
            raise StudyError(
                f"reward model {run} learned from {file}, which is gone or has changed since: nobody can tell its "
                "prompts"
            )
        found.update(pair.prompt for pair in read_pairs(file))
    return found


def respond(writing: Writing, name: str, run: Run | None, *, track: Track = iter) -> System:
    """The system of that name, the base model or a run's adapter, with a response to each prompt; those that are there
    are kept.

    Raises:
        InputError: the study has another system of that name, or one whose responses were drawn otherwise.
    """
    from training.generation import Generator, fill, plan_batches, system_of

    system = system_of(writing.study, name, run, writing.model)
    origin = {"model": writing.model, "run": run.name if run else None}
    wanted: dict[str, Any] = {**origin, **vars(writing.sampling)}
    there = [] if system._state.adding else list(system.responses.filter(prompt__split=writing.split))
    if any(response.sampling.get(key) != value for response in there for key, value in wanted.items()):
        raise InputError(
            f"the study's system {name} responded with other settings of sampling: repeat those to go on, or choose "
            "another --name"
        )
    prompts = writing.prompts
    if len(there) == len(prompts):
        return system
    plan = RunPlan(
        kind=RunKind.GENERATION,
        config={**wanted, "study": writing.study.slug, "split": writing.split, "batch_size": writing.batch_size},
        stem=f"generate-{name}",
        parents=[run] if run else [],
        system=system,
    )
    with recorded_run(plan) as generation:
        generator = Generator(resolve_model(writing.model), run.folder if run else None)
        batches = plan_batches(prompts, 1, writing.batch_size)
        stored, empty = fill(generator, system, batches, writing.sampling, origin, track=track)
        generation.metrics.update(stored=stored, there_before=len(there), empty=len(empty))
    return system


def scores_of(
    systems: Sequence[System], scorers: Mapping[str, Run], split: str, *, track: Track = iter
) -> tuple[FloatArray, list[str]]:
    """Normalised rewards on the prompts that every system responded to, and those prompts' keys.

    Returns:
        Shape (systems, prompts, criteria); what was scored before is not scored again.
    """
    from training.rewards import score_responses

    chosen = {(r.system_id, r.prompt_id): r for r in _responses(systems, split)}
    answered = sorted({p for _, p in chosen if all((system.pk, p) in chosen for system in systems)})
    wanted = [chosen[system.pk, prompt] for system in systems for prompt in answered]
    scores = np.empty((len(systems), len(answered), len(scorers)))
    for k, (key, run) in enumerate(scorers.items()):
        score_responses(run, wanted, track=track)
        stored = Reward.objects.filter(run=run, criterion=key, response__in=_responses(systems, split))
        values = dict(stored.values_list("response_id", "value"))
        scores[:, :, k] = np.reshape([values[response.pk] for response in wanted], (len(systems), len(answered)))
    return scores, [chosen[systems[0].pk, prompt].prompt.key for prompt in answered]


def _responses(systems: Sequence[System], split: str) -> Any:
    responses = Response.objects.filter(system__in=systems, prompt__split=split, number=1)
    return responses.select_related("prompt").order_by("pk")
