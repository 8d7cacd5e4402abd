"""Supervised fine-tuning on the responses that were chosen, by TRL's own trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, load_from_disk
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from training.language_models import load_tokenizer
from training.pairs import PreferencePair
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
)
from training.recipes import PolicyRecipe

# The label of a token that carries no loss.
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class SFTTask:
    """What a policy imitates: the chosen response of each pair, each response once."""

    label = "SFT"

    source: str
    recipe: PolicyRecipe
    pairs: Sequence[PreferencePair]
    held_out: Sequence[PreferencePair]

    def build(self, place: Workplace) -> tuple[Trainer, Metrics]:
        train = _demonstrations(self.pairs, place.scratch / "train")
        held_out = _demonstrations(self.held_out, place.scratch / "held_out") if self.held_out else None
        rows = len(train)
        settings = trainer_arguments(self.recipe, place, pairs=rows, held_out=len(held_out or ()))
        trainer: Trainer = SFTTrainer(
            model=load_base(self.source, self.recipe),
            # The loss of a response's tokens alone: the prompt is given.
            args=SFTConfig(completion_only_loss=True, **settings),
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=load_tokenizer(self.source),
            peft_config=lora(self.recipe),
            callbacks=callbacks(self.recipe, held_out=len(held_out or ())),
        )
        score_responses_alone(trainer)
        limit = self.recipe.max_length
        trainer.train_dataset = _taught(trainer.train_dataset, limit)
        if held_out is not None:
            trainer.eval_dataset = _taught(trainer.eval_dataset, limit)
        require_room(trainer, self.recipe)
        lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
        trainer.train_dataset = in_training_order(trainer.train_dataset, lengths, self.recipe)
        return trainer, {
            "train_responses": len(lengths),
            "truncated_responses": sum(length > limit for length in lengths),
            "tokens_a_pass": sum(min(length, limit) for length in lengths),
        }

    def measure(self, trainer: Trainer, curves: dict[str, list[list[float]]]) -> Metrics:
        """Loss per token of held-out responses, in nats."""
        return {"held_out_loss": trainer.evaluate()["eval_loss"]} if trainer.eval_dataset is not None else {}


def _taught(dataset: Dataset, limit: int) -> Dataset:
    """The rows of which a token that carries loss is within the window."""
    taught = [any(label != IGNORED for label in labels[:limit]) for labels in dataset["labels"]]
    return dataset.select([row for row, some in enumerate(taught) if some])


def _demonstrations(pairs: Sequence[PreferencePair], folder: Path) -> Dataset:
    chosen = dict.fromkeys((pair.prompt, pair.chosen) for pair in pairs)
    rows = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": response}],
        }
        for prompt, response in chosen
    ]
    Dataset.from_list(rows).save_to_disk(folder)
    return load_from_disk(folder)
