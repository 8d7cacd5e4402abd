"""Training of a policy, whatever the method: a LoRA adapter on TRL's trainers, with checkpoints and curves."""

import functools
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import torch
from accelerate import PartialState
from peft import LoraConfig
from transformers import BitsAndBytesConfig, EarlyStoppingCallback, PreTrainedModel, TrainerCallback, set_seed
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils.import_utils import is_bitsandbytes_available
from trl.trainer import utils as trl_utils

from annotation.errors import InputError
from training.language_models import load_policy
from training.order import training_order
from training.progress import quiet_libraries, report_steps
from training.recipes import PolicyRecipe
from training.reference_cache import ReferenceCache
from training.runs import DivergedError

# TRL types its trainer's model and data sets as anything they could be; here they are LoRA on a causal model and
# map-style data sets.
Trainer = Any
Metrics = dict[str, Any]

# What the trainers of TRL log, by the name of the curve it makes.
CURVES = {
    "loss": "loss",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "learning_rate": "learning_rate",
    "eval_loss": "eval_loss",
    "eval_margin": "eval_rewards/margins",
    "eval_accuracy": "eval_rewards/accuracies",
}


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where a training keeps its files: the folder of the run, and the cache that runs share."""

    folder: Path
    cache: ReferenceCache
    report_to: tuple[str, ...] = ()

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def scratch(self) -> Path:
        """Data sets on disk; each process of a distributed training has its own."""
        return self.folder / f"scratch-{os.environ.get('RANK', '0')}"


class PolicyTask(Protocol):
    """What a policy learns from, by one method."""

    @property
    def label(self) -> str: ...

    @property
    def recipe(self) -> PolicyRecipe: ...

    def build(self, place: Workplace) -> tuple[Trainer, Metrics]:
        """A trainer whose data are in their final order, and counts of what it will see."""

    def measure(self, trainer: Trainer, curves: dict[str, list[list[float]]]) -> Metrics:
        """What the trained policy makes of held-out data; may put curves right."""


def train_policy(task: PolicyTask, place: Workplace) -> Metrics:
    """Metrics of the run; the adapter, and the tokenizer beside it, are written to the folder.

    Goes on from the last checkpoint in the folder, if there is one.

    Raises:
        InputError: the base model cannot be loaded, or all pairs are longer than the window.
        DivergedError: the loss is no longer a number.
    """
    quiet_libraries()
    shutil.rmtree(place.scratch, ignore_errors=True)
    place.scratch.mkdir(parents=True)
    trainer, metrics = task.build(place)
    report_steps(trainer, task.label)
    # Whether reference log-probabilities came from the cache must not change what is drawn from here on.
    set_seed(task.recipe.seed)
    checkpoint = last_checkpoint(place.checkpoints)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = trainer.state.log_history
    curves = read_curves(history)
    if not all(math.isfinite(loss) for _, loss in curves["loss"]):
        raise DivergedError("the loss is no longer a number: lower --learning-rate")
    metrics |= {"updates": trainer.state.global_step, "train_seconds": _last(history, "train_runtime")}
    metrics |= task.measure(trainer, curves)
    metrics["curves"] = curves
    # In every process, since each may hold a part of the weights; the first one writes.
    trainer.save_model(str(place.folder))
    if PartialState().is_main_process:
        (place.folder / TRAINING_ARGS_NAME).unlink()
        shutil.rmtree(place.checkpoints, ignore_errors=True)
    shutil.rmtree(place.scratch)
    # Nobody may still write when the first process moves the folder.
    PartialState().wait_for_everyone()
    return metrics


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end: the trainer's state is the last of its files."""
    if PartialState().is_main_process:
        folder.mkdir(exist_ok=True)
        for unfinished in folder.glob("checkpoint-*"):
            if not (unfinished / "trainer_state.json").is_file():
                shutil.rmtree(unfinished)
    PartialState().wait_for_everyone()
    found: str | None = get_last_checkpoint(str(folder))  # type: ignore[no-untyped-call]
    return Path(found) if found else None


def read_curves(history: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """[step, value] lists by name, from a trainer's log."""
    curves = {
        name: [[entry["step"], round(entry[logged], 6)] for entry in history if logged in entry]
        for name, logged in CURVES.items()
    }
    return {name: curve for name, curve in curves.items() if curve or name == "loss"}


def _last(history: Sequence[dict[str, Any]], name: str) -> Any:
    return next((entry[name] for entry in reversed(history) if name in entry), None)


def in_training_order(
    dataset: Any,
    lengths: Sequence[int],
    recipe: PolicyRecipe,
    *,
    rows_each: int = 1,
    weights: Sequence[float] | None = None,
) -> Any:
    """All passes over a data set as one, in a fixed order. `rows_each` rows that follow one another stay together.

    TRL's losses have no weights. To draw a pair in proportion to its weight gives the same gradient in the mean.
    """
    order = training_order(
        lengths, epochs=recipe.epochs, batch_size=update_size(recipe), seed=recipe.seed, weights=weights
    )
    return dataset.select([rows_each * index + row for index in order for row in range(rows_each)])


def update_size(recipe: PolicyRecipe) -> int:
    """Pairs that make one update, over all processes."""
    processes: int = PartialState().num_processes
    return recipe.batch_size * recipe.accumulation * processes


def trainer_arguments(
    recipe: PolicyRecipe, place: Workplace, *, pairs: int, held_out: int, rows_each: int = 1
) -> Metrics:
    """Arguments that every trainer takes. The passes come as one, so each pass ends after a number of updates."""
    on_gpu = torch.cuda.is_available()
    a_pass = max(1, math.ceil(pairs / update_size(recipe)))
    evaluates, stops_early = bool(held_out), bool(held_out and recipe.patience)
    eval_steps = recipe.eval_steps or a_pass
    together = bundles_together(recipe.batch_size, rows_each)
    return {
        "output_dir": str(place.checkpoints),
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": together * rows_each,
        "per_device_eval_batch_size": together * rows_each,
        "gradient_accumulation_steps": recipe.accumulation * recipe.batch_size // together,
        "max_length": recipe.max_length,
        "weight_decay": recipe.weight_decay,
        "warmup_steps": recipe.warmup,
        "lr_scheduler_type": "cosine",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": eval_steps,
        "save_strategy": "steps",
        # The best checkpoint can be kept only if each evaluation has one.
        "save_steps": eval_steps if stops_early else recipe.save_steps or a_pass,
        "save_total_limit": 2,
        "load_best_model_at_end": stops_early,
        "metric_for_best_model": "eval_loss" if stops_early else None,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": 1,
        "report_to": list(place.report_to) or "none",
        "seed": recipe.seed,
    }


def bundles_together(batch_size: int, rows_each: int) -> int:
    """How many bundles of rows go through the model at once: a divisor of the batch, so that the rest accumulates, and
    no more rows than the batch is of single ones, so that they take no more memory."""
    return max(n for n in range(1, batch_size + 1) if batch_size % n == 0 and (n * rows_each <= batch_size or n == 1))


def callbacks(recipe: PolicyRecipe, *, held_out: int) -> list[TrainerCallback]:
    return [EarlyStoppingCallback(recipe.patience)] if recipe.patience and held_out else []


def lora(recipe: PolicyRecipe) -> LoraConfig:
    """An adapter on all linear layers but the head: in Mistral the seven projections."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
    )


def load_base(source: str, recipe: PolicyRecipe) -> PreTrainedModel:
    """The base model as the recipe wants it.

    Raises:
        InputError: it cannot be loaded, or needs 4 bits where bitsandbytes is missing.
    """
    options: dict[str, Any] = {}
    if recipe.four_bit:
        if not is_bitsandbytes_available():
            raise InputError(
                "this recipe loads the model in 4 bits, which needs bitsandbytes, on Linux: install attune[training], "
                "or add --no-four-bit"
            )
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        # Each process holds its own copy, on its own GPU if it has one.
        options["device_map"] = {"": PartialState().local_process_index if torch.cuda.is_available() else "cpu"}
    model = load_policy(source, **options)
    if recipe.four_bit:
        _keep_trainable(model)
    return model


def require_room(trainer: Trainer, recipe: PolicyRecipe) -> None:
    """Raise InputError where prompts leave no response any room in the window, in training or held out."""
    for data, which in ((trainer.train_dataset, "every prompt"), (trainer.eval_dataset, "every held-out prompt")):
        if data is not None and not len(data):
            raise InputError(f"{which} fills --max-length {recipe.max_length} alone: raise it")


def score_responses_alone(trainer: Trainer) -> None:
    """Have TRL's fused head project only positions that carry loss, on any device. What it returns stays the same.

    By itself it does so only where Triton is, and elsewhere projects prompts and padding too, to throw them away:
    two fifths of a step on a CPU.
    """
    model = trainer.accelerator.unwrap_model(trainer.model).get_base_model()
    forward = model.forward

    # generate reads the signature that a model's forward has.
    @functools.wraps(forward)
    def compact(*args: Any, **kwargs: Any) -> Any:
        with patch.object(trl_utils, "_use_triton", lambda device: True):
            return forward(*args, **kwargs)

    model.forward = compact


def _keep_trainable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from packing 4-bit weights for inference, as it does on some CPUs at the first evaluation:
    the kernel that reads them has no backward, so that the layers below would learn from a false gradient."""
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
