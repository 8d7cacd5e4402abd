"""Alignment of a policy on TRL's own DPOTrainer. MODPO reaches it as a shift of the reference log-probabilities."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_from_disk
from peft import LoraConfig
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import BitsAndBytesConfig, EarlyStoppingCallback, PreTrainedModel, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from annotation.errors import InputError, StudyError
from training.accuracy import pair_accuracy
from training.language_models import load_policy, load_tokenizer
from training.modpo import Shift, Weights
from training.pairs import PreferencePair
from training.progress import quiet_libraries, report_steps
from training.recipes import PolicyRecipe
from training.reference_cache import ReferenceCache, logp_key, model_hash

# TRL types its trainer's model and data sets as anything they could be; here they are LoRA on a causal model and
# map-style data sets.
Trainer = Any


@dataclass(frozen=True, kw_only=True)
class PolicyTask:
    """What a policy learns from. A shift a pair, for training and held-out pairs alike."""

    source: str
    recipe: PolicyRecipe
    weights: Weights
    pairs: Sequence[PreferencePair]
    shifts: Sequence[Shift]
    held_out: Sequence[PreferencePair]
    held_out_shifts: Sequence[Shift]


def train_policy(task: PolicyTask, folder: Path, cache: ReferenceCache) -> dict[str, Any]:
    """Metrics of the run; the adapter, and the tokenizer beside it, are written to the folder.

    Raises:
        InputError: the base model cannot be loaded, or all pairs are longer than the window.
        StudyError: the loss is no longer a number.
    """
    quiet_libraries()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        trainer, metrics = build_trainer(task, Path(work), cache)
        report_steps(trainer, "MODPO" if task.weights.others else "DPO")
        # Whether reference log-probabilities came from the cache must not change the order of the pairs.
        set_seed(task.recipe.seed)
        trainer.train()
        history = trainer.state.log_history
        curve = [[entry["step"], round(entry["loss"], 5)] for entry in history if "loss" in entry]
        if not all(math.isfinite(loss) for _, loss in curve):
            raise StudyError("the loss is no longer a number: lower --learning-rate")
        metrics |= {
            "loss_curve": curve,
            "eval_loss": [[e["step"], round(e["eval_loss"], 5)] for e in history if "eval_loss" in e],
            "tokens": int(trainer.state.num_input_tokens_seen) or _last(history, "num_tokens"),
            "train_seconds": _last(history, "train_runtime"),
            **_held_out_preference(trainer, task),
        }
        trainer.model.save_pretrained(folder)
        trainer.processing_class.save_pretrained(folder)
    return metrics


def build_trainer(task: PolicyTask, work: Path, cache: ReferenceCache) -> tuple[Trainer, dict[str, Any]]:
    """A DPOTrainer whose reference log-probabilities hold the shift, and counts of what it will see."""
    model = _load(task)
    base_hash = model_hash(model)
    trainer: Trainer = DPOTrainer(
        model=model,
        args=_arguments(task, work),
        train_dataset=_dataset(task.pairs, task.shifts, work / "train"),
        eval_dataset=_dataset(task.held_out, task.held_out_shifts, work / "held_out") if task.held_out else None,
        processing_class=load_tokenizer(task.source),
        peft_config=_lora(task.recipe),
        callbacks=[EarlyStoppingCallback(task.recipe.patience)] if task.recipe.patience and task.held_out else None,
    )
    if not len(trainer.train_dataset):
        raise InputError(f"every prompt fills --max-length {task.recipe.max_length} alone: raise it")
    trainer.train_dataset, computed = _with_reference(trainer, trainer.train_dataset, base_hash, cache)
    if task.held_out:
        trainer.eval_dataset, more = _with_reference(trainer, trainer.eval_dataset, base_hash, cache)
        computed += more
    # From here on the trainer reads the columns, as after its own precomputation, which knows no shift.
    trainer.precompute_ref_logps = True
    limit = task.recipe.max_length
    rows = list(trainer.train_dataset)
    return trainer, {
        "train_pairs": len(rows),
        "dropped_pairs": len(task.pairs) - len(rows),
        "truncated_responses": sum(
            len(row["prompt_ids"]) + len(row[side]) > limit for row in rows for side in ("chosen_ids", "rejected_ids")
        ),
        "reference_logps_computed": computed,
        "mean_margin": sum(shift.margin(task.recipe.beta) for shift in task.shifts) / len(task.shifts),
    }


def _dataset(pairs: Sequence[PreferencePair], shifts: Sequence[Shift], folder: Path) -> Dataset:
    """Conversations for TRL, with the shift in columns of its own, on disk."""
    rows = [
        {
            "prompt": [{"role": "user", "content": pair.prompt}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
            "prompt_id": pair.prompt_id,
            "chosen_shift": shift.chosen,
            "rejected_shift": shift.rejected,
        }
        for pair, shift in zip(pairs, shifts, strict=True)
    ]
    Dataset.from_list(rows).save_to_disk(folder)
    return load_from_disk(folder)


def _with_reference(trainer: Trainer, dataset: Dataset, base_hash: str, cache: ReferenceCache) -> tuple[Dataset, int]:
    """The data set with ref_chosen_logps and ref_rejected_logps, shift included, and how many had to be computed.

    The cache itself holds pure log-probabilities.
    """
    limit = trainer.args.max_length
    keys = [
        tuple(
            logp_key(base_hash, row["prompt_ids"], row[side][: limit - len(row["prompt_ids"])])
            for side in ("chosen_ids", "rejected_ids")
        )
        for row in dataset
    ]
    known = cache.get({key for both in keys for key in both})
    missing = [index for index, both in enumerate(keys) if not known.keys() >= set(both)]
    trainer.model.eval()
    for indices, batch in _batches(trainer, dataset, missing):
        logps = trainer.compute_ref_log_probs(trainer.model, batch)
        for side, values in enumerate(logps):
            known |= {keys[index][side]: logp for index, logp in zip(indices, values.tolist(), strict=True)}
    cache.put({key: known[key] for index in missing for key in keys[index]})
    columns: dict[str, list[float]] = {"ref_chosen_logps": [], "ref_rejected_logps": [], "length": []}
    for row, (chosen, rejected) in zip(dataset, keys, strict=True):
        columns["ref_chosen_logps"].append(known[chosen] + row["chosen_shift"])
        columns["ref_rejected_logps"].append(known[rejected] + row["rejected_shift"])
        columns["length"].append(len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])))
    for name, values in columns.items():
        dataset = dataset.add_column(name, values)
    return dataset, 2 * len(missing)


def _batches(
    trainer: Trainer, dataset: Dataset, indices: Sequence[int]
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Collated batches of these rows, of like length, with their indices."""
    lengths = {index: sum(len(dataset[index][name]) for name in ("prompt_ids", "chosen_ids")) for index in indices}
    order = sorted(indices, key=lengths.__getitem__)
    size = trainer.args.per_device_train_batch_size
    loader = DataLoader(dataset.select(order), batch_size=size, collate_fn=trainer.data_collator)
    for start, batch in zip(range(0, len(order), size), loader, strict=True):
        yield order[start : start + size], {k: v.to(trainer.accelerator.device) for k, v in batch.items()}


def _held_out_preference(trainer: Trainer, task: PolicyTask) -> dict[str, Any]:
    """How the policy's own reward beta h, apart from the shift, orders held-out pairs."""
    if not task.held_out:
        return {"held_out_preference": pair_accuracy([], [])}
    dataset = trainer.eval_dataset
    margins, prompts = [], []
    trainer.model.eval()
    for indices, batch in _batches(trainer, dataset, range(len(dataset))):
        chosen, rejected = response_logps(trainer.model, batch)
        for index, policy in zip(indices, (chosen - rejected).tolist(), strict=True):
            row = dataset[index]
            reference = row["ref_chosen_logps"] - row["ref_rejected_logps"]
            shift = row["chosen_shift"] - row["rejected_shift"]
            margins.append(task.recipe.beta * (policy - (reference - shift)))
            prompts.append(row["prompt_id"])
    return {
        "held_out_preference": pair_accuracy([float(margin > 0) for margin in margins], prompts),
        "held_out_implicit_margin": sum(margins) / len(margins),
    }


@torch.no_grad()
def response_logps(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Summed log-probability of chosen and rejected responses in nats. Shapes: (batch,)"""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    output = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
    )
    chosen, rejected = output.log_probs.sum(dim=1).chunk(2)
    return chosen, rejected


def _load(task: PolicyTask) -> PreTrainedModel:
    options: dict[str, Any] = {}
    if task.recipe.four_bit:
        if not torch.cuda.is_available():
            raise InputError("this recipe loads the model in 4 bits, which needs a GPU: take --recipe cpu")
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return load_policy(task.source, **options)


def _lora(recipe: PolicyRecipe) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
    )


def _arguments(task: PolicyTask, work: Path) -> DPOConfig:
    recipe, on_gpu = task.recipe, torch.cuda.is_available()
    evaluation = ("steps" if recipe.eval_steps else "epoch") if task.held_out else "no"
    stops_early = bool(recipe.patience and task.held_out)
    return DPOConfig(
        output_dir=str(work / "trainer"),
        # MODPO divides beta by the primary weight; DPO has weight 1.
        beta=recipe.beta / task.weights.primary_weight,
        loss_type=["sigmoid"],
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        max_length=recipe.max_length,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        disable_dropout=recipe.dropout == 0,
        gradient_checkpointing=recipe.gradient_checkpointing,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        eval_strategy=evaluation,
        eval_steps=recipe.eval_steps or None,
        save_strategy=evaluation if stops_early else "no",
        save_steps=recipe.eval_steps or 500,
        save_total_limit=1,
        load_best_model_at_end=stops_early,
        metric_for_best_model="eval_loss" if stops_early else None,
        logging_steps=1,
        report_to="none",
        seed=recipe.seed,
    )


def _last(history: Sequence[dict[str, Any]], name: str) -> Any:
    return next((entry[name] for entry in reversed(history) if name in entry), None)
