"""The paper's systems as data: who is trained by which command, from which criteria, and with which constants."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from annotation.errors import InputError
from evaluation.paper import PHASE_1, PHASE_2, PublishedTable
from training.recipes import POLICY_RECIPES, REWARD_RECIPES, PolicyRecipe, RewardRecipe

PREFERENCE, IMITATION = "preference", "imitation"


@dataclass(frozen=True, kw_only=True)
class SystemPlan:
    """A system, named as in the paper, the criteria it needs rankings on, and the command that trains it, in which
    {runs} stands for what the names of the seed's runs begin with. The base model needs no command, a merge no recipe.
    """

    name: str
    criteria: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    recipe: str = ""

    @property
    def key(self) -> str:
        return key_of(self.name)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Systems, those that others are made of before them, and the criteria they are judged on. `whole` phases say
    something only if every system is there."""

    systems: tuple[SystemPlan, ...]
    judged: tuple[str, ...]
    published: PublishedTable
    whole: bool

    def possible(self, ranked: Collection[str]) -> list[SystemPlan]:
        """The systems whose criteria are ranked."""
        return [system for system in self.systems if set(system.criteria) <= set(ranked)]

    def missing(self, ranked: Collection[str]) -> list[str]:
        """Criteria whose rankings are needed before anything can be compared."""
        if len(self.possible(ranked)) >= (len(self.systems) if self.whole else 2):
            return []
        return [key for key in self.judged if key not in ranked and any(key in s.criteria for s in self.systems)]


def key_of(name: str) -> str:
    """How a system's name stands in names of runs."""
    return name.lower().replace(" ", "-")


def weights(criteria: Iterable[str]) -> list[str]:
    """Equal ones, as `--weight criterion=w`."""
    names = list(criteria)
    return [word for name in names for word in ("--weight", f"{name}={1 / len(names)!r}")]


def sft(criterion: str) -> SystemPlan:
    return SystemPlan(
        name=f"SFT-{criterion}",
        criteria=(criterion,),
        command=("train_sft", "--criterion", criterion),
        recipe=IMITATION,
    )


def dpo(criterion: str) -> SystemPlan:
    return SystemPlan(
        name=f"DPO-{criterion}",
        criteria=(criterion,),
        command=("train_dpo", "--criterion", criterion),
        recipe=PREFERENCE,
    )


def soup(*criteria: str) -> SystemPlan:
    """The average of the products BA of the criteria's DPO adapters, which `cat` gives exactly."""
    share = 1 / len(criteria)
    adapters = [f"{{runs}}{dpo(key).key}={share!r}" for key in criteria]
    options = [word for adapter in adapters for word in ("--adapter", adapter)]
    return SystemPlan(
        name="DPO-soup", criteria=criteria, command=("merge_adapters", *options, "--method", "cat")
    )  # fmt: skip


def joint(*criteria: str) -> SystemPlan:
    return SystemPlan(
        name="joint-loss DPO",
        criteria=criteria,
        command=("train_joint_dpo", *weights(criteria)),
        recipe=PREFERENCE,
    )


def modpo(name: str, primary: str, *others: str) -> SystemPlan:
    rewards = [word for key in others for word in ("--reward-run", f"{key}={{runs}}reward-{key}")]
    return SystemPlan(
        name=name,
        criteria=(primary, *others),
        command=("train_modpo", "--primary", primary, *weights((primary, *others)), *rewards),
        recipe=PREFERENCE,
    )


BASE = SystemPlan(name="Base")
SURVEY = ("empathy", "active_listening", "self_motivated_change", "trust_rapport", "patient_autonomy")
SURVEY_4 = tuple(key for key in SURVEY if key != "active_listening")
MAXIMS = ("quality", "quantity", "relation", "manner")

PHASES: Mapping[int, Phase] = {
    1: Phase(
        systems=(
            BASE,
            sft("empathy"),
            dpo("empathy"),
            dpo("safety"),
            soup("empathy", "safety"),
            joint("empathy", "safety"),
            modpo("MODPO", "empathy", "safety"),
        ),
        judged=("empathy", "safety"),
        published=PHASE_1,
        whole=True,
    ),
    2: Phase(
        systems=(
            BASE,
            modpo("MODPO-Maxim", *MAXIMS, "safety"),
            modpo("MODPO-Survey4", *SURVEY_4, "safety"),
            modpo("MODPO-Survey", *SURVEY, "safety"),
        ),
        judged=(*SURVEY, "safety", *MAXIMS, "overall_preference"),
        published=PHASE_2,
        whole=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The constants of every training, and of the responses. All preference methods share one recipe."""

    name: str
    preference: PolicyRecipe
    imitation: PolicyRecipe
    reward: RewardRecipe
    scorer: RewardRecipe
    sampling: Mapping[str, float]

    def of_policy(self, system: SystemPlan, seed: int) -> PolicyRecipe:
        return replace(self.preference if system.recipe == PREFERENCE else self.imitation, seed=seed)

    def with_models(self, *, policy: str | None, reward: str | None, scorer: str | None) -> "Scale":
        """With other base models; the scorers start where the reward models do, unless told otherwise."""
        policy, reward = policy or self.preference.model, reward or self.reward.model
        return replace(
            self,
            preference=replace(self.preference, model=policy),
            imitation=replace(self.imitation, model=policy),
            reward=replace(self.reward, model=reward),
            scorer=replace(self.scorer, model=scorer or reward),
        )


SCALES = {
    "cpu": Scale(
        name="cpu",
        # As gently as the demonstration, whose posts these are, and for its reason.
        preference=replace(POLICY_RECIPES["cpu"], learning_rate=1e-4, epochs=3.0),
        imitation=POLICY_RECIPES["cpu"],
        reward=REWARD_RECIPES["cpu"],
        # A scorer has fewer prompts than a reward model, so it passes over them more often.
        scorer=replace(REWARD_RECIPES["cpu"], epochs=3.0),
        sampling={"temperature": 0.5, "max_new_tokens": 96},
    ),
    "paper": Scale(
        name="paper",
        preference=POLICY_RECIPES["paper"],
        imitation=POLICY_RECIPES["paper"],
        reward=REWARD_RECIPES["paper"],
        scorer=REWARD_RECIPES["paper"],
        sampling={"temperature": 0.8, "max_new_tokens": 512},
    ),
}


def recipe_options(recipe: PolicyRecipe | RewardRecipe, scale: Scale) -> list[str]:
    """The options that make a training command use this recipe: its constants where they are not the scale's own."""
    standard: Any = (POLICY_RECIPES if isinstance(recipe, PolicyRecipe) else REWARD_RECIPES)[scale.name]
    changed = [field.name for field in fields(recipe) if getattr(recipe, field.name) != getattr(standard, field.name)]
    values = [f"--{name.replace('_', '-')}={getattr(recipe, name)}" for name in changed]
    return [f"--recipe={scale.name}", *values]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from `0,1,2`.

    Raises:
        InputError: one is no whole number of 0 or more, or comes twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(f"--seeds {text}: write different whole numbers with commas, such as 0,1,2")
    return tuple(int(part) for part in parts)
