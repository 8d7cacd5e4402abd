"""Training of reward models on TRL's RewardTrainer, one scalar head a criterion."""

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_from_disk
from torch.nn.init import eye_, zeros_
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from annotation.errors import InputError
from training.encoding import encode_for_reward, load_reward_tokenizer
from training.order import training_order
from training.pairs import PreferencePair
from training.progress import quiet_libraries, report_steps
from training.recipes import RewardRecipe
from training.reward_report import ScoredPairs, Text, reward_report
from training.scoring import raw_scores

# Weight of the penalty that keeps rewards around 0 (Eisenstein et al. 2023, arXiv:2312.09244, eq. 2).
CENTRE = 0.01
# How much the mean counts beside the first token, which a layer of BERT adds to it.
MEAN_TO_FIRST = 4.0
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "attention_dropout")
CURVES = ("loss", "margin", "accuracy", "learning_rate")
# Shares of the training prompts that the learning curve is measured at, before all of them.
SHARES = (1 / 8, 1 / 4, 1 / 2)
# A deviation of scores that is no more than what rounding leaves of equal ones.
FLAT = 1e-5


@dataclass(frozen=True, kw_only=True)
class RewardMetrics:
    """What a reward-model run found out; accuracy, calibration and length bias are of held-out pairs."""

    accuracy: dict[str, Any]
    calibration: dict[str, Any]
    length_bias: dict[str, Any]
    reward_mean: float
    reward_sd: float
    train_pairs: int
    train_prompts: int
    truncated_responses: int
    train_loss: float
    updates: int
    train_seconds: float
    curves: dict[str, list[list[float]]]


def train_reward_model(
    source: str,
    pairs: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    recipe: RewardRecipe,
    folder: Path,
) -> RewardMetrics:
    """Train on `pairs`, write model and tokenizer to the folder, score both sets from there.

    Raises:
        InputError: the model cannot be loaded.
        StudyError: a score is no number.
    """
    quiet_libraries()
    tokenizer = load_reward_tokenizer(source)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        dataset, truncated = encoded_pairs(tokenizer, pairs, recipe.max_length, Path(work) / "pairs")
        trainer: Any = RewardTrainer(
            model=load_classifier(source, recipe),
            args=reward_arguments(recipe, work),
            train_dataset=in_training_order(dataset, recipe, [pair.weight for pair in pairs]),
            processing_class=tokenizer,
        )
        report_steps(trainer, "reward model")
        result = trainer.train()
        trainer.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    scores = _scores(folder, [*pairs, *held_out], recipe.max_length)
    mean, deviation = normalisation(pairs, scores)
    return RewardMetrics(
        **reward_report(ScoredPairs.of(held_out, scores)),
        reward_mean=mean,
        reward_sd=deviation,
        train_pairs=len(pairs),
        train_prompts=len({key for pair in pairs for key in pair.prompt_ids}),
        truncated_responses=truncated,
        train_loss=result.training_loss,
        updates=trainer.state.global_step,
        train_seconds=result.metrics["train_runtime"],
        curves=curves_of(trainer.state.log_history),
    )


def learning_curve(
    source: str,
    pairs: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    recipe: RewardRecipe,
    folder: Path,
) -> list[dict[str, Any]]:
    """Accuracy on the same held-out pairs after training on 1/8, 1/4 and 1/2 of the prompts, each part of the next.

    Updates are in proportion to prompts. Pairs across prompts dwindle with the square of the share, so they are passed
    more often.
    """
    prompts = sorted({key for pair in pairs for key in pair.prompt_ids})
    random.Random(recipe.seed).shuffle(prompts)  # noqa: S311 - a reproducible choice, no secret
    points = []
    for share in SHARES:
        known = set(prompts[: round(share * len(prompts))])
        part = [pair for pair in pairs if known.issuperset(pair.prompt_ids)]
        if not part:
            continue
        epochs = recipe.epochs * share * len(pairs) / len(part)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            metrics = train_reward_model(source, part, held_out, replace(recipe, epochs=epochs), Path(work))
        points.append(curve_point(share, metrics))
    return points


def curve_point(share: float, metrics: RewardMetrics) -> dict[str, Any]:
    return {
        "share": share,
        "prompts": metrics.train_prompts,
        "pairs": metrics.train_pairs,
        "updates": metrics.updates,
        "accuracy": metrics.accuracy,
    }


def encoded_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], max_length: int, folder: Path
) -> tuple[Dataset, int]:
    """The pairs as chosen_ids / rejected_ids, on disk, and how many responses were truncated.

    TRL drops what is longer than its own max_length; here everything was cut to fit, and counted.
    """
    encoded = [[encode_for_reward(tokenizer, *text, max_length) for text in pair.texts] for pair in pairs]
    rows = [
        {"chosen_ids": chosen.ids, "rejected_ids": rejected.ids, "length": max(len(chosen.ids), len(rejected.ids))}
        for chosen, rejected in encoded
    ]
    Dataset.from_list(rows).save_to_disk(folder)
    return load_from_disk(folder), sum(side.truncated for both in encoded for side in both)


def in_training_order(dataset: Dataset, recipe: RewardRecipe, weights: Sequence[float] | None = None) -> Dataset:
    """All passes over encoded pairs as one.

    TRL's loss has no weights. To draw a pair in proportion to its weight gives the same gradient in the mean.
    """
    order = training_order(
        dataset["length"], epochs=recipe.epochs, batch_size=recipe.batch_size, seed=recipe.seed, weights=weights
    )
    return dataset.select(order)


def _scores(folder: Path, pairs: Sequence[PreferencePair], max_length: int) -> dict[Text, float]:
    texts = sorted({text for pair in pairs for text in pair.texts})
    return dict(zip(texts, raw_scores(folder, texts, max_length=max_length), strict=True))


def normalisation(pairs: Sequence[PreferencePair], scores: Mapping[Text, float]) -> tuple[float, float]:
    """Mean and deviation of the scores of all responses in the pairs."""
    trained = [scores[text] for text in sorted({text for pair in pairs for text in pair.texts})]
    deviation = statistics.pstdev(trained)
    # A head that gives all responses one score has no deviation to divide by: what is left is rounding.
    return statistics.fmean(trained), deviation if deviation > FLAT else 1.0


def curves_of(history: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """[step, value] lists by name."""
    return {
        name: [[entry["step"], round(entry[name], 6)] for entry in history if name in entry and "loss" in entry]
        for name in CURVES
    }


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
        if recipe.pooling == "mean":
            return _pooling_by_mean(source, config)
        return AutoModelForSequenceClassification.from_pretrained(source, config=config, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"model {source} cannot be loaded: {str(error).strip().splitlines()[0]}") from error


def _pooling_by_mean(source: str, config: Any) -> Any:
    """A BERT with one more layer, which begins as the mean over all tokens, for the head to read at the first one.

    Sentence encoders are trained to say what a text says in the mean over its tokens; what they have at the first token
    was never trained. Written as a layer, any copy of transformers can load it, and training may improve on the mean.

    Raises:
        ValueError: the model is no BERT.
    """
    if config.model_type != "bert":
        raise ValueError(f"the mean of the tokens needs a BERT, this is a {config.model_type}: add --pooling first")
    config.num_hidden_layers += 1
    model: Any = AutoModelForSequenceClassification.from_pretrained(source, config=config, dtype=torch.float32)
    layer, pooler = model.bert.encoder.layer[-1], model.bert.pooler.dense
    # Query and key are random and small, so that attention is about even.
    eye_(layer.attention.self.value.weight)
    eye_(layer.attention.output.dense.weight)
    with torch.no_grad():
        layer.attention.output.dense.weight.mul_(MEAN_TO_FIRST)
    zeros_(layer.output.dense.weight)
    eye_(pooler.weight)
    zeros_(pooler.bias)
    return model


def reward_arguments(recipe: RewardRecipe, work: str) -> RewardConfig:
    """Arguments for rows that are in their training order."""
    on_gpu = torch.cuda.is_available()
    return RewardConfig(
        output_dir=work,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size,
        max_length=recipe.max_length,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        center_rewards_coefficient=CENTRE,
        disable_dropout=recipe.dropout == 0,
        bf16=recipe.bf16,
        gradient_checkpointing=False,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        # The collator takes only what it needs anyway.
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=recipe.seed,
    )
