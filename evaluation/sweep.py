"""A sweep of MODPO over weights: policies that share what they can, compared with the base model on other prompts."""

import csv
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from annotation.errors import InputError, StudyError
from annotation.models import Split, Study
from evaluation import sweep_report
from evaluation.figures import draw
from evaluation.pareto import front_of, operating_point
from evaluation.scorers import Track, Writing, require_strangers, respond, scores_of
from training.alignment import Alignment, align
from training.models import Run, RunKind, RunStatus
from training.modpo import Weights, parse_weights, shifts
from training.recipes import PolicyRecipe
from training.runs import RunPlan, plain, recorded_run
from training.sources import PairSource, pairs_of_study

WEIGHTS = "0.9,0.7,0.5,0.3,0.1"
NAME_LENGTH = 80

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the policies are compared: by scorers, one a criterion, on one response to each prompt."""

    writing: Writing
    scorers: Mapping[str, Run]
    floors: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is swept. Every point has the same criteria, the primary one first. Without evaluation it only trains."""

    name: str
    study: Study
    points: Sequence[Weights]
    recipe: PolicyRecipe
    reward_runs: Mapping[str, Run]
    evaluation: Evaluation | None = None

    def __post_init__(self) -> None:
        if Run.objects.filter(name=self.name, status=RunStatus.DONE).exists():
            raise InputError(f"run {self.name} exists: runs are never overwritten, choose another --name")
        if len(set(self.names)) < len(self.names):
            raise InputError("two points have the same weights: give each once")
        if len(max([self.base, *self.names], key=len)) > NAME_LENGTH:
            raise InputError(f"--name {self.name} makes names of policies over {NAME_LENGTH} characters: shorten it")
        if self.evaluation:
            self.study.require_unlocked()
            if not self.evaluation.writing.prompts:
                raise StudyError(
                    f"study {self.study.slug} has no {self.evaluation.writing.split} prompts to compare on"
                )

    @property
    def criteria(self) -> list[str]:
        return list(self.points[0].values)

    @property
    def names(self) -> list[str]:
        """Of the policies, as runs and as systems. With many criteria weights take too much room for a name."""
        named = [f"{self.name}-{'-'.join(f'{k}{w:g}' for k, w in point.values.items())}" for point in self.points]
        if max(map(len, named)) <= NAME_LENGTH:
            return named
        return [f"{self.name}-{'-'.join(f'{w:g}' for w in point.values.values())}" for point in self.points]

    @property
    def base(self) -> str:
        """The system of the base model, its responses drawn as the policies' are."""
        return f"{self.name}-base"


def even_weights(primary: str, others: Sequence[str], text: str) -> list[Weights]:
    """A point for each weight of the primary criterion; the other criteria share what is left evenly.

    Raises:
        InputError: a weight is no number in (0, 1].
    """
    points = []
    for item in text.split(","):
        try:
            weight = float(item)
        except ValueError as error:
            raise InputError(f"--weights {text}: write numbers with commas between, such as {WEIGHTS}") from error
        if not 0 < weight <= 1:
            raise InputError(f"--weights {text}: {item} does not lie above 0 and up to 1")
        rest = round((1 - weight) / len(others), 10)
        points.append(Weights(primary=primary, values={primary: weight, **dict.fromkeys(others, rest)}))
    return points


def lattice(primary: str, others: Sequence[str], parts: int) -> list[Weights]:
    """Every way to share `parts` equal parts of weight among the criteria that leaves the primary one at least one."""
    if parts < 1:
        raise InputError(f"--grid {parts}: it must be 1 or more")
    shares = itertools.product(range(parts + 1), repeat=len(others))
    return [
        Weights(
            primary=primary,
            values={primary: (parts - sum(share)) / parts}
            | {key: part / parts for key, part in zip(others, share, strict=True)},
        )
        for share in shares
        if sum(share) < parts
    ]


def listed_points(primary: str, others: Sequence[str], items: Sequence[str]) -> list[Weights]:
    """A point for each `criterion=weight,criterion=weight` item; a criterion that is left out has weight 0.

    Raises:
        InputError: an item is malformed or names another criterion, or its weights break a rule.
    """
    points = []
    for item in items:
        try:
            given = parse_weights(primary, item.split(","))
            given.require_known({primary, *others}, "the sweep")
        except InputError as error:
            raise InputError(f"--point {item}: {error}") from error
        values = {key: given.values.get(key, 0.0) for key in (primary, *others)}
        points.append(Weights(primary=primary, values=values))
    return points


def train_points(job: Sweep, *, say: Say) -> list[Run]:
    """The finished run of each point, trained now or before: by this sweep when it was stopped, or by anyone who
    trained the same on the same. Pairs are exported and rewards scored once, and reference log-probabilities cached.

    Raises:
        StudyError: nothing makes pairs, or a scorer is no stranger to what is trained.
        InputError: a point's margin is nothing but zeros.
    """
    source = pairs_of_study(job.study, job.points[0].primary, split=Split.TRAIN, pairs="best-worst")
    if job.evaluation:
        texts = {pair.prompt for pair in source.pairs} | {prompt.text for prompt in job.evaluation.writing.prompts}
        require_strangers(job.evaluation.scorers.values(), job.reward_runs.values(), texts)
    alignments = _alignments(job, source)
    runs = []
    for number, alignment in enumerate(alignments, start=1):
        run = trained_before(alignment)
        say(f"policy {number} of {len(alignments)}: {run or alignment.name}{', trained before' if run else ''}")
        runs.append(run or align(alignment))
    return runs


def _alignments(job: Sweep, source: PairSource) -> list[Alignment]:
    from training.rewards import rewards_of_pairs

    rewards = rewards_of_pairs(job.study, source.pairs, job.reward_runs)
    for point in job.points:
        # Refused here, a flat margin does not cost the training of the points before it.
        shifts(source.pairs, point, rewards, beta=job.recipe.beta)
    return [
        Alignment(
            # MODPO without another criterion is DPO, and refuses to be called otherwise.
            kind=RunKind.MODPO if point.others else RunKind.DPO,
            weights=point,
            recipe=job.recipe,
            sources={point.primary: source},
            rewards=rewards,
            parents=[job.reward_runs[key] for key in point.others],
            name=name,
        )
        for name, point in zip(job.names, job.points, strict=True)
    ]


def trained_before(job: Alignment) -> Run | None:
    """A finished run of the same weights, recipe, data and reward models, whatever its name."""
    wanted = plain(job.recipe)
    datasets, parents = {d.pk for d in job.source.datasets}, {run.pk for run in job.parents}
    for run in Run.objects.filter(kind=job.kind, status=RunStatus.DONE, criterion=job.source.criterion):
        weights = {key: weight for key, weight in run.config["weights"].items() if weight}
        if (
            weights == {key: weight for key, weight in job.weights.values.items() if weight}
            and all(run.config.get(key) == value for key, value in wanted.items())
            and {dataset.pk for dataset in run.datasets.all()} == datasets
            and {parent.pk for parent in run.parents.all()} == parents
            and run.folder.is_dir()
        ):
            return run
    return None


def record_sweep(job: Sweep, runs: Sequence[Run], *, say: Say, track: Track = iter) -> Run:
    """The sweep as a run made from the points' runs; its metrics are the table, its folder holds it with the figure.

    Raises:
        StudyError: fewer than two prompts were responded to by all.
    """
    config: dict[str, Any] = {
        "study": job.study.slug,
        "criterion": job.criteria[0],
        "criteria": job.criteria,
        "points": [",".join(f"{key}={weight:g}" for key, weight in point.values.items()) for point in job.points],
        "reward_runs": {key: run.name for key, run in job.reward_runs.items()},
        **plain(job.recipe),
    }
    if job.evaluation:
        writing = job.evaluation.writing
        config |= {"scorers": {key: run.name for key, run in job.evaluation.scorers.items()}, "split": writing.split}
        config |= {**vars(writing.sampling), "generation_batch": writing.batch_size, "floors": job.evaluation.floors}
    criterion = job.study.criterion(job.criteria[0])
    plan = RunPlan(kind=RunKind.SWEEP, config=config, name=job.name, criterion=criterion, parents=runs)
    with recorded_run(plan) as run:
        run.metrics["criteria"] = job.criteria
        run.metrics["points"] = [
            {"run": made.name, "weights": dict(point.values)} for made, point in zip(runs, job.points, strict=True)
        ]
        if job.evaluation:
            add_results(run.metrics, job, job.evaluation, runs, say=say, track=track)
            names = dict(job.study.criteria.values_list("key", "name"))
            write_results(run.folder, run.metrics, names)
    return run.row


def add_results(
    metrics: dict[str, Any], job: Sweep, evaluation: Evaluation, runs: Sequence[Run], *, say: Say, track: Track
) -> None:
    """Let all systems respond, score them, and put the front and the operating point into the metrics."""
    writers: list[tuple[str, Run | None]] = [(job.base, None), *zip(job.names, runs, strict=True)]
    systems = []
    for number, (name, run) in enumerate(writers, start=1):
        say(f"system {number} of {len(writers)} responds: {name}")
        systems.append(respond(evaluation.writing, name, run, track=track))
    scores, prompts = scores_of(systems, evaluation.scorers, evaluation.writing.split, track=track)
    if len(prompts) < 2:
        raise StudyError(f"all policies responded to {len(prompts)} prompts: two are needed at least to compare them")
    names = [run.name for run in runs]
    front = front_of(names, job.criteria, scores[1:], scores[0], seed=job.recipe.seed)
    for made, name, point in zip(metrics["points"], job.names, front.points, strict=True):
        made |= {"system": name, **{key: value for key, value in point.as_dict().items() if key != "name"}}
    chosen = operating_point(front.points, job.criteria[0], evaluation.floors) if evaluation.floors else None
    metrics |= {
        "base": {"system": job.base, "rewards": {key: value.as_dict() for key, value in front.base_rewards.items()}},
        "hypervolume": front.hypervolume.as_dict(),
        "split": evaluation.writing.split,
        "prompts": front.prompts,
        "unanswered": len(evaluation.writing.prompts) - front.prompts,
        "floors": dict(evaluation.floors),
        "operating_point": asdict(chosen) if chosen else None,
        "simulated": is_simulated([*runs, *evaluation.scorers.values()]),
    }


def is_simulated(runs: Iterable[Run]) -> bool:
    return any(run.is_simulated or run.environment.get("simulated", False) for run in runs)


def write_results(folder: Path, metrics: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """pareto.csv, pareto.svg and pareto.pdf."""
    rows = sweep_report.rows(metrics)
    with (folder / "pareto.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    chart = sweep_report.chart(metrics, names)
    for kind in ("svg", "pdf"):
        (folder / f"pareto.{kind}").write_bytes(draw(chart, kind=kind))
