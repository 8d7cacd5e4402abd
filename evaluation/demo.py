"""The demonstration: one study from consent to conclusion, with simulated people and real training.

Stopped anywhere, it goes on where it was (see `evaluation.steps`).
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction

from annotation.calibration import read_calibration
from annotation.designs import DesignPlan, draw_design, open_design
from annotation.models import Rater, RaterKind, Response, Split, Study, StudyStatus
from annotation.roles import require_blind
from evaluation.local_server import local_model_server
from evaluation.steps import Procedure, Step, command_json, run_done
from training.models import Run, RunStatus

FOLDER = Path(settings.BASE_DIR) / "fixtures" / "demo"
STUDY, TRY_OUT = "demo", "try-out"
DESIGN = "main"
# The system of the responses in FOLDER, by its study.toml.
CONTENT_SYSTEM = "demo-content"
CRITERIA = ("empathy", "safety")
SYSTEMS = ("base", "dpo-empathy", "modpo-empathy-safety")
SCORER, TOY = "held-out-scorers", "toy-llm"
# The pairs were written to be told apart with ease: at the recipe's own pace the loss is nothing after a dozen steps,
# and the policy repeats itself. Chosen on responses to scorer prompts, not on the test prompts.
GENTLY = ("--learning-rate", "1e-4", "--epochs", "3")


def reward_model(name: str, criterion: str, split: str, *options: str) -> Step:
    what = ("--study", STUDY, "--criterion", criterion, "--split", split)
    return Step(
        name=f"reward model {name}",
        is_done=lambda: run_done(name),
        command=("train_reward_model", *what, *options, "--name", name),
    )


def scoring(run: str) -> Step:
    ranked = Response.objects.filter(prompt__study__slug=STUDY, system__name=CONTENT_SYSTEM)
    return Step(
        name=f"scores of {run}",
        is_done=lambda: not ranked.exclude(rewards__run__name=run).exists(),
        command=("score_responses", "--study", STUDY, "--run", run),
    )


def training_steps() -> Iterator[Step]:
    for criterion in CRITERIA:
        yield reward_model(f"demo-reward-{criterion}", criterion, Split.TRAIN)
    for criterion in CRITERIA:
        yield scoring(f"demo-reward-{criterion}")
    yield Step(
        name="DPO on empathy",
        is_done=lambda: run_done("demo-dpo"),
        command=("train_dpo", "--study", STUDY, "--criterion", "empathy", *GENTLY, "--name", "demo-dpo"),
    )
    weights = ("--primary", "empathy", "--weight", "empathy=0.5", "--weight", "safety=0.5")
    rewards = ("--reward-run", "safety=demo-reward-safety")
    yield Step(
        name="MODPO on empathy with a margin of safety",
        is_done=lambda: run_done("demo-modpo"),
        command=("train_modpo", "--study", STUDY, *weights, *rewards, *GENTLY, "--name", "demo-modpo"),
    )
    for criterion in CRITERIA:
        # A scorer has fewer prompts than a reward model, so it passes over them more often.
        yield reward_model(f"demo-scorer-{criterion}", criterion, Split.SCORER, "--epochs", "3")


def generation(system: str, *run: str) -> Step:
    name = f"demo-generate-{system}"
    what = ("--study", STUDY, "--system", system, *run, "--split", Split.TEST, "--per-prompt", "1")
    how = ("--temperature", "0.5", "--max-new-tokens", "96", "--seed", "7")
    return Step(
        name=f"responses of {system}",
        is_done=lambda: run_done(name),
        command=("generate_responses", *what, *how, "--name", name),
    )


def steps() -> Iterator[Step]:
    """The study up to the clinicians, in order."""
    here = str(FOLDER)
    yield Step(name="models", is_done=lambda: False, command=("prepare_models",))
    yield Step(
        name="study",
        is_done=lambda: Study.objects.filter(slug=STUDY).exists(),
        command=("load_study", here, "--open"),
    )
    yield Step(
        name="simulated participants",
        is_done=lambda: Rater.objects.filter(study__slug=STUDY, kind=RaterKind.PARTICIPANT).exists(),
        command=("simulate_participants", here, "--study", STUDY),
    )
    yield from training_steps()
    yield generation(SYSTEMS[0])
    yield generation(SYSTEMS[1], "--run", "demo-dpo")
    yield generation(SYSTEMS[2], "--run", "demo-modpo")


@dataclass
class Demo(Procedure):
    """Carries the study through its steps."""

    folder: Path = field(default_factory=lambda: Path(settings.VAR_DIR) / "demo")

    def run(self) -> dict[str, Any]:
        """Do what is left to do; returns the summary, which is also kept in summary.json."""
        self.carry_out(steps())
        self.judge()
        self.conclude()
        self.prepare_try_out()
        summary = self.summary()
        self.keep("summary.json", summary)
        return summary

    def judge(self) -> None:
        """Simulated clinicians and a toy compare MODPO with the base; held-out scorers vote on all pairs of systems."""
        study = Study.objects.get(slug=STUDY)
        if study.status == StudyStatus.LOCKED:
            return
        self.ask_clinicians(study)
        runs = [option for key in CRITERIA for option in ("--run", f"{key}=demo-scorer-{key}")]
        everything = ("--study", STUDY, "--systems", *SYSTEMS)
        self.timed("judge: held-out scorers", "judge", *everything, "--name", SCORER, *runs)
        with local_model_server(threads=os.cpu_count()) as endpoint:
            seen = ("--study", STUDY, "--systems", SYSTEMS[0], SYSTEMS[2])
            toy = ("--name", TOY, "--endpoint", endpoint, "--model", "smollm2-135m", "--toy")
            self.timed("judge: toy language model", "judge", *seen, *toy)

    def ask_clinicians(self, study: Study) -> None:
        """Simulated clinicians judge a design of all test prompts, some of them twice."""
        if not study.designs.filter(name=DESIGN).exists():
            prompts = test_prompts(study)
            what = ("--study", STUDY, "--name", DESIGN, "--system", SYSTEMS[0], "--system", SYSTEMS[2])
            size = ("--prompts", str(prompts), "--repeated-pairs", str(repeats(prompts)))
            self.timed("design of the clinician study", "design_clinician_study", *what, *size)
        sizes = ("--design", DESIGN, "--raters", "4")
        self.timed("simulated clinicians", "simulate_clinicians", "--study", STUDY, *sizes)

    def conclude(self) -> None:
        """Lock the study and unblind it."""
        study = Study.objects.get(slug=STUDY)
        if study.status == StudyStatus.OPEN:
            study.advance(StudyStatus.CLOSED)
        if study.status == StudyStatus.CLOSED:
            study.advance(StudyStatus.LOCKED)
        if study.unblinded_at is None:
            study.unblind()

    def prepare_try_out(self) -> None:
        """A second study of the same content, open, for whoever wants to take part; and a login for each role."""
        if not Study.objects.filter(slug=TRY_OUT).exists():
            renamed = ("--slug", TRY_OUT, "--title", "Try it out (demonstration study)")
            self.timed("try-out study", "load_study", str(FOLDER), *renamed, "--open")
        self.logins()
        self.give_pairs(Study.objects.get(slug=TRY_OUT))

    @transaction.atomic
    def give_pairs(self, study: Study) -> None:
        """A design for the clinician of the try-out study, once: practice, then the demonstration's pairs of base and
        MODPO, some of them twice."""
        clinician = get_user_model().objects.get(username="clinician")
        require_blind(clinician)
        Rater.objects.get_or_create(study=study, user=clinician, defaults={"kind": RaterKind.CLINICIAN, "name": "C1"})
        if study.designs.filter(name=DESIGN).exists():
            return
        copy_responses(Study.objects.get(slug=STUDY), study, (SYSTEMS[0], SYSTEMS[2]))
        prompts = test_prompts(study)
        plan = DesignPlan(
            name=DESIGN,
            systems=list(study.systems.filter(name__in=SYSTEMS)),
            prompts=prompts,
            repeated_pairs=repeats(prompts),
            calibration=read_calibration(FOLDER / "calibration.toml"),
            seed=study.seed,
        )
        open_design(draw_design(study, plan))

    def logins(self) -> dict[str, str]:
        """Passwords by user name, drawn once for this machine and kept in logins.json before anyone needs them."""
        passwords = {name: secrets.token_urlsafe(9) for name in ("admin", "researcher", "clinician")}
        passwords |= self.kept("logins.json")
        self.keep("logins.json", passwords)
        for name, password in passwords.items():
            user, _ = get_user_model().objects.get_or_create(
                username=name, defaults={"is_staff": name != "clinician", "is_superuser": name == "admin"}
            )
            if not user.check_password(password):
                user.set_password(password)
                user.save()
            if name == "researcher":
                user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        return passwords

    def summary(self) -> dict[str, Any]:
        """Systems, criteria, win rates, pairs, agreement, folders of the runs and seconds a step."""
        table = command_json("head_to_head", "--study", STUDY, "--judge", SCORER)
        agreement = command_json("agreement", "--study", STUDY)
        runs = {run.name: str(run.folder) for run in Run.objects.filter(status=RunStatus.DONE).order_by("pk")}
        return {
            "simulated": "participants and clinicians are simulated; toy-llm is a toy judge",
            **table,
            "agreement": agreement,
            "runs": runs,
            "seconds": self.seconds,
        }


def test_prompts(study: Study) -> int:
    return study.prompts.filter(split=Split.TEST).count()


def repeats(pairs: int) -> int:
    """How many of the pairs are shown twice: a fifth."""
    return pairs // 5


def copy_responses(source: Study, target: Study, names: tuple[str, ...]) -> None:
    """Give `target`, a study of the same prompts, the responses of the systems of those names."""
    prompts = {prompt.key: prompt for prompt in target.prompts.all()}
    for name in names:
        origin = source.systems.get(name=name)
        system, _ = target.systems.get_or_create(
            name=name, defaults={"kind": origin.kind, "description": origin.description}
        )
        Response.objects.bulk_create(
            Response(
                prompt=prompts[response.prompt.key],
                system=system,
                number=response.number,
                key=response.key,
                text=response.text,
                sampling=response.sampling,
            )
            for response in origin.responses.select_related("prompt")
        )
