"""DPO and MODPO on TRL's own trainer. MODPO reaches it as a shift of the reference log-probabilities."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, load_from_disk
from torch import Tensor
from torch.utils.data import DataLoader
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from training.accuracy import pair_accuracy
from training.language_models import load_tokenizer
from training.modpo import Shift, Weights
from training.pairs import PreferencePair, trl_pair
from training.policy import (
    Metrics,
    Trainer,
    Workplace,
    callbacks,
    in_training_order,
    load_base,
    lora,
    require_room,
    score_responses_alone,
    trainer_arguments,
    update_size,
)
from training.recipes import PolicyRecipe
from training.reference_cache import ReferenceCache, logp_key, model_hash

SIDES = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class PreferenceTask:
    """What a policy learns from by DPO or MODPO. A shift a pair, for training and held-out pairs alike."""

    source: str
    recipe: PolicyRecipe
    weights: Weights
    pairs: Sequence[PreferencePair]
    shifts: Sequence[Shift]
    held_out: Sequence[PreferencePair]
    held_out_shifts: Sequence[Shift]

    @property
    def label(self) -> str:
        return "MODPO" if self.weights.others else "DPO"

    def build(self, place: Workplace) -> tuple[Trainer, Metrics]:
        """A DPOTrainer whose reference log-probabilities hold the shift."""
        settings = trainer_arguments(self.recipe, place, pairs=len(self.pairs), held_out=len(self.held_out))
        # MODPO divides beta by the primary weight; DPO has weight 1.
        settings["beta"] = self.recipe.beta / self.weights.primary_weight
        written = tuple(
            pair_dataset(pairs, shifts, place.scratch / name)
            for name, pairs, shifts in (
                ("train", self.pairs, self.shifts),
                ("held_out", self.held_out, self.held_out_shifts),
            )
        )
        trainer, metrics = build_dpo_trainer(DPOTrainer, self.source, self.recipe, settings, written, place.cache)
        metrics["dropped_pairs"] = len(self.pairs) - metrics["train_pairs"]
        metrics["mean_margin"] = _mean([shift.margin(self.recipe.beta) for shift in self.shifts])
        data = trainer.train_dataset
        trainer.train_dataset = in_training_order(data, data["length"], self.recipe, weights=data["weight"])
        return trainer, metrics

    def measure(self, trainer: Trainer, curves: dict[str, list[list[float]]]) -> Metrics:
        """How the policy's own reward beta h, apart from the shift, orders held-out pairs."""
        beta, weight = self.recipe.beta, self.weights.primary_weight
        margins = _margins(trainer.train_dataset, beta)
        size = update_size(self.recipe)
        # TRL logs the mean of (beta h - m) / w_k, pairs in the order of training.
        for point in curves.get("margin", []):
            step = int(point[0])
            point[1] = round(weight * point[1] + _mean(margins[(step - 1) * size : step * size]), 6)
        held_out_margin = _mean(_margins(trainer.eval_dataset or (), beta))
        for point in curves.get("eval_margin", []):
            point[1] = round(weight * point[1] + held_out_margin, 6)
        return held_out_preference(trainer, beta)


def _margins(rows: Iterable[dict[str, Any]], beta: float) -> list[float]:
    """m of each row that TRL kept."""
    return [Shift(row["chosen_shift"], row["rejected_shift"]).margin(beta) for row in rows]


def build_dpo_trainer(
    trainer_class: Any,
    source: str,
    recipe: PolicyRecipe,
    settings: Metrics,
    data: tuple[Dataset | None, ...],
    cache: ReferenceCache,
) -> tuple[Trainer, Metrics]:
    """A trainer of that class with reference columns, shift included, in training and held-out data.

    Raises:
        InputError: no pair fits the window, or none of those held out.
    """
    model = load_base(source, recipe)
    base_hash = model_hash(model)
    train, held_out = data
    trainer: Trainer = trainer_class(
        model=model,
        args=DPOConfig(loss_type=["sigmoid"], disable_dropout=recipe.dropout == 0, **settings),
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=load_tokenizer(source),
        peft_config=lora(recipe),
        callbacks=callbacks(recipe, held_out=len(held_out or ())),
    )
    score_responses_alone(trainer)
    require_room(trainer, recipe)
    trainer.train_dataset, computed = _with_reference(trainer, trainer.train_dataset, base_hash, cache)
    if held_out is not None:
        trainer.eval_dataset, more = _with_reference(trainer, trainer.eval_dataset, base_hash, cache)
        computed += more
    # From here on the trainer reads the columns, as after its own precomputation, which knows no shift.
    trainer.precompute_ref_logps = True
    rows, limit = list(trainer.train_dataset), recipe.max_length
    lengths = [len(row["prompt_ids"]) + len(row[f"{side}_ids"]) for row in rows for side in SIDES]
    return trainer, {
        "train_pairs": len(rows),
        "truncated_responses": sum(length > limit for length in lengths),
        "tokens_a_pass": sum(min(length, limit) for length in lengths),
        "reference_logps_computed": computed,
    }


def pair_dataset(pairs: Sequence[PreferencePair], shifts: Sequence[Shift], folder: Path) -> Dataset | None:
    """Conversations for TRL, with the shift in columns of its own, on disk. None without pairs."""
    if not pairs:
        return None
    rows = [
        {**trl_pair(pair), "chosen_shift": shift.chosen, "rejected_shift": shift.rejected}
        for pair, shift in zip(pairs, shifts, strict=True)
    ]
    Dataset.from_list(rows).save_to_disk(folder)
    return load_from_disk(folder)


def _with_reference(trainer: Trainer, dataset: Dataset, base_hash: str, cache: ReferenceCache) -> tuple[Dataset, int]:
    """The data set with ref_chosen_logps and ref_rejected_logps, shift included, and how many had to be computed.

    The cache itself holds pure log-probabilities. Processes share the work.
    """
    limit = trainer.args.max_length
    keys = [
        tuple(
            logp_key(base_hash, row["prompt_ids"], row[f"{side}_ids"][: limit - len(row["prompt_ids"])])
            for side in SIDES
        )
        for row in dataset
    ]
    known = cache.get({key for both in keys for key in both})
    missing = [index for index, both in enumerate(keys) if not known.keys() >= set(both)]
    state = PartialState()
    computed = _compute(trainer, dataset, missing[state.process_index :: state.num_processes], keys)
    known |= dict(gather_object(list(computed.items())))
    if state.is_main_process:
        cache.put({key: known[key] for index in missing for key in keys[index]})
    columns: dict[str, list[float]] = {"ref_chosen_logps": [], "ref_rejected_logps": [], "length": []}
    for row, (chosen, rejected) in zip(dataset, keys, strict=True):
        columns["ref_chosen_logps"].append(known[chosen] + row["chosen_shift"])
        columns["ref_rejected_logps"].append(known[rejected] + row["rejected_shift"])
        columns["length"].append(len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])))
    for name, values in columns.items():
        dataset = dataset.add_column(name, values)
    return dataset, 2 * len(missing)


def _compute(trainer: Trainer, dataset: Dataset, missing: Sequence[int], keys: Sequence[Any]) -> dict[str, float]:
    """Pure reference log-probabilities of these rows by key, from TRL's own forward pass."""
    result: dict[str, float] = {}
    trainer.model.eval()
    if not getattr(trainer.model, "is_loaded_in_4bit", False):
        # Where weights are to be sharded, accelerate leaves them in main memory until training begins.
        trainer.model.to(trainer.accelerator.device)
    for indices, batch in _batches(trainer, dataset, missing):
        for side, values in enumerate(trainer.compute_ref_log_probs(trainer.model, batch)):
            result |= {keys[index][side]: logp for index, logp in zip(indices, values.tolist(), strict=True)}
    return result


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


def held_out_preference(trainer: Trainer, beta: float) -> Metrics:
    """Share of held-out pairs that the policy's own reward beta h orders rightly, and its mean difference."""
    if trainer.eval_dataset is None:
        return {"held_out_preference": pair_accuracy([], [])}
    dataset = trainer.eval_dataset
    margins, prompts = [], []
    trainer.model.eval()
    for indices, batch in _batches(trainer, dataset, range(len(dataset))):
        with torch.no_grad():
            chosen, rejected = response_logps(trainer.model, batch)
        for index, policy in zip(indices, (chosen - rejected).tolist(), strict=True):
            row = dataset[index]
            reference = row["ref_chosen_logps"] - row["ref_rejected_logps"]
            shift = row["chosen_shift"] - row["rejected_shift"]
            margins.append(beta * (policy - (reference - shift)))
            prompts.append(row["prompt_id"])
    return {
        "held_out_preference": pair_accuracy([float(margin > 0) for margin in margins], prompts),
        "held_out_implicit_margin": _mean(margins),
    }


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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
