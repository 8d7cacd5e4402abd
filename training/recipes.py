"""Recipes: every constant of a training run, its command-line option, its check and its record, in one place."""

import argparse
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from annotation.errors import InputError

Recipe = TypeVar("Recipe", bound="RewardRecipe | PolicyRecipe")

POOLINGS = ("mean", "first")


def option(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


def _require_positive(recipe: Any, *names: str) -> None:
    for name in names:
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"--{name.replace('_', '-')} {value}: it must be greater than 0")


def _require_share(recipe: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(recipe, name) < 1:
            raise InputError(f"--{name} {getattr(recipe, name)}: it must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class RewardRecipe:
    """How a reward model is trained. The defaults are the recipe `cpu`."""

    model: str = option("minilm-l6", "prepared model, local folder or hub id")
    epochs: float = option(1.0, "passes over the pairs")
    learning_rate: float = option(1e-4, "peak learning rate")
    batch_size: int = option(16, "pairs a step")
    max_length: int = option(256, "tokens of prompt and response together")
    weight_decay: float = option(0.01, "of AdamW")
    warmup: float = option(0.1, "share of the steps with rising learning rate")
    dropout: float = option(0.0, "dropout while training")
    pooling: str = option("mean", "what the head reads: mean of the tokens (BERT alone), or first token")
    bf16: bool = option(True, "16-bit arithmetic in training; scores are computed in 32 bits")
    seed: int = option(0, "of weights, order and held-out prompts")

    def __post_init__(self) -> None:
        _require_positive(self, "epochs", "learning_rate", "batch_size", "max_length")
        _require_share(self, "warmup", "dropout")
        if self.pooling not in POOLINGS:
            raise InputError(f"--pooling {self.pooling}: it must be one of {', '.join(POOLINGS)}")


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe:
    """How a policy is trained by DPO or MODPO, with LoRA on all linear layers. The defaults are the recipe `cpu`."""

    model: str = option("smollm2-135m-instruct", "prepared model, local folder or hub id")
    beta: float = option(0.1, "strength of the KL penalty")
    epochs: float = option(2.0, "passes over the pairs")
    learning_rate: float = option(2e-4, "peak learning rate")
    batch_size: int = option(4, "pairs a step and device")
    accumulation: int = option(1, "steps whose gradients make one update")
    rank: int = option(16, "of the LoRA adapter")
    alpha: int = option(32, "scale of the LoRA adapter")
    dropout: float = option(0.0, "of the LoRA adapter")
    max_length: int = option(512, "tokens of prompt and response together")
    weight_decay: float = option(0.01, "of AdamW")
    warmup: float = option(0.1, "share of the steps with rising learning rate")
    eval_steps: int = option(0, "updates between evaluations; 0 evaluates after each epoch")
    save_steps: int = option(0, "updates between checkpoints; 0 saves after each epoch")
    patience: int = option(0, "evaluations without a lower loss before training stops; 0 never stops early")
    four_bit: bool = option(False, "load the base model in 4-bit NF4 (needs bitsandbytes)")
    gradient_checkpointing: bool = option(False, "less memory, more time")
    seed: int = option(0, "of weights, order and held-out prompts")

    def __post_init__(self) -> None:
        _require_positive(
            self, "beta", "epochs", "learning_rate", "batch_size", "accumulation", "rank", "alpha", "max_length"
        )
        _require_share(self, "warmup", "dropout")


REWARD_RECIPES = {
    "cpu": RewardRecipe(),
    "paper": RewardRecipe(
        model="FacebookAI/roberta-large",
        epochs=5.0,
        learning_rate=2e-5,
        batch_size=8,
        max_length=512,
        weight_decay=0.03,
        dropout=0.1,
        pooling="first",
    ),
}
POLICY_RECIPES = {
    "cpu": PolicyRecipe(),
    "paper": PolicyRecipe(
        model="mistralai/Mistral-7B-Instruct-v0.2",
        epochs=3.0,
        learning_rate=5e-6,
        accumulation=4,
        rank=64,
        alpha=128,
        dropout=0.05,
        max_length=1024,
        eval_steps=50,
        save_steps=50,
        patience=3,
        four_bit=True,
        gradient_checkpointing=True,
    ),
}


def add_recipe_arguments(parser: argparse.ArgumentParser, recipes: Mapping[str, Recipe]) -> None:
    """--recipe, and an option for each constant that the recipe sets."""
    parser.add_argument("--recipe", choices=list(recipes), default="cpu", help="set of constants (default: cpu)")
    for constant in dataclasses.fields(recipes["cpu"]):
        flag = f"--{constant.name.replace('_', '-')}"
        values = ", ".join(f"{name} {getattr(recipe, constant.name)}" for name, recipe in recipes.items())
        help_text = f"{constant.metadata['help']} ({values})".replace("%", "%%")
        if isinstance(constant.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=help_text)
        else:
            parser.add_argument(flag, type=type(constant.default), default=None, help=help_text)


def chosen_recipe(recipes: Mapping[str, Recipe], options: Mapping[str, Any]) -> Recipe:
    """The recipe that was asked for, with the constants given on the command line.

    Raises:
        InputError: a constant is out of range.
    """
    recipe = recipes[options["recipe"]]
    names = [constant.name for constant in dataclasses.fields(recipe)]
    return dataclasses.replace(recipe, **{name: options[name] for name in names if options[name] is not None})
