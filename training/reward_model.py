"""Training of reward models on TRL's RewardTrainer, one scalar head a criterion."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_from_disk
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from annotation.errors import InputError
from training.accuracy import pair_accuracy
from training.encoding import encode_for_reward, load_reward_tokenizer
from training.pairs import PreferencePair
from training.progress import quiet_libraries, report_steps
from training.recipes import RewardRecipe
from training.scoring import raw_scores

# Weight of the penalty that keeps rewards around 0 (Eisenstein et al. 2023, arXiv:2312.09244, eq. 2).
CENTRE = 0.01
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "attention_dropout")


@dataclass(frozen=True, kw_only=True)
class RewardMetrics:
    """What a reward-model run found out; `accuracy` is a statistic over held-out pairs."""

    accuracy: dict[str, Any]
    reward_mean: float
    reward_sd: float
    train_pairs: int
    train_prompts: int
    truncated_responses: int
    train_loss: float


def train_reward_model(
    source: str,
    pairs: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    recipe: RewardRecipe,
    folder: Path,
) -> RewardMetrics:
    """Train on `pairs`, write model and tokenizer to the folder, score both sets from there."""
    quiet_libraries()
    tokenizer = load_reward_tokenizer(source)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        dataset, truncated = encoded_pairs(tokenizer, pairs, recipe.max_length, Path(work) / "pairs")
        trainer: Any = RewardTrainer(
            model=load_classifier(source, recipe),
            args=reward_arguments(recipe, work),
            train_dataset=dataset,
            processing_class=tokenizer,
        )
        report_steps(trainer, "reward model")
        train_loss = trainer.train().training_loss
        trainer.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    scores = _scores(folder, [*pairs, *held_out], recipe.max_length)
    trained = [scores[text] for text in sorted({text for pair in pairs for text in texts_of(pair)})]
    return RewardMetrics(
        accuracy=accuracy_of(held_out, scores),
        reward_mean=statistics.fmean(trained),
        # A head that gives all responses one score has no deviation to divide by.
        reward_sd=statistics.pstdev(trained) or 1.0,
        train_pairs=len(pairs),
        train_prompts=len({pair.prompt_id for pair in pairs}),
        truncated_responses=truncated,
        train_loss=train_loss,
    )


def encoded_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], max_length: int, folder: Path
) -> tuple[Dataset, int]:
    """The pairs as chosen_ids / rejected_ids, on disk, and how many responses were truncated.

    TRL drops what is longer than its own max_length; here everything was cut to fit, and counted.
    """
    encoded = [[encode_for_reward(tokenizer, *text, max_length) for text in texts_of(pair)] for pair in pairs]
    rows = [
        {"chosen_ids": chosen.ids, "rejected_ids": rejected.ids, "length": max(len(chosen.ids), len(rejected.ids))}
        for chosen, rejected in encoded
    ]
    Dataset.from_list(rows).save_to_disk(folder)
    return load_from_disk(folder), sum(side.truncated for both in encoded for side in both)


def texts_of(pair: PreferencePair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.prompt, pair.chosen), (pair.prompt, pair.rejected)


def _scores(folder: Path, pairs: Sequence[PreferencePair], max_length: int) -> dict[tuple[str, str], float]:
    texts = sorted({text for pair in pairs for text in texts_of(pair)})
    return dict(zip(texts, raw_scores(folder, texts, max_length=max_length), strict=True))


def accuracy_of(pairs: Sequence[PreferencePair], scores: dict[tuple[str, str], float]) -> dict[str, Any]:
    differences = [scores[chosen] - scores[rejected] for chosen, rejected in map(texts_of, pairs)]
    correct = [0.5 if difference == 0 else float(difference > 0) for difference in differences]
    return pair_accuracy(correct, [pair.prompt_id for pair in pairs])


def load_classifier(source: str, recipe: RewardRecipe, criteria: Sequence[str] = ("reward",)) -> Any:
    """An encoder with a new scalar head a criterion.

    Raises:
        InputError: it cannot be loaded.
    """
    torch.manual_seed(recipe.seed)
    try:
        config = AutoConfig.from_pretrained(source, id2label=dict(enumerate(criteria)))
        config.label2id = {criterion: head for head, criterion in enumerate(criteria)}
        for name in DROPOUTS:
            if hasattr(config, name):
                setattr(config, name, recipe.dropout)
        return AutoModelForSequenceClassification.from_pretrained(source, config=config, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"model {source} cannot be loaded: {str(error).strip().splitlines()[0]}") from error


def reward_arguments(recipe: RewardRecipe, work: str) -> RewardConfig:
    on_gpu = torch.cuda.is_available()
    return RewardConfig(
        output_dir=work,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size,
        max_length=recipe.max_length,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        center_rewards_coefficient=CENTRE,
        disable_dropout=recipe.dropout == 0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        train_sampling_strategy="group_by_length",
        # The sampler reads the column of lengths; the collator takes only what it needs anyway.
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=recipe.seed,
    )
