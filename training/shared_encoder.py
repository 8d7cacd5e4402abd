"""All criteria as heads of one encoder: a response is encoded once for all of them, in training and in scoring."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase, Trainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from annotation.errors import InputError
from training.encoding import load_reward_tokenizer
from training.pairs import PreferencePair
from training.progress import quiet_libraries, report_steps
from training.recipes import RewardRecipe
from training.reward_model import (
    CENTRE,
    curves_of,
    encoded_pairs,
    in_training_order,
    load_classifier,
    normalisation,
    reward_arguments,
)
from training.reward_report import ScoredPairs, Text, reward_report
from training.scoring import Scorer
from training.shared_sources import PairsByCriterion

# What transformers leaves out when it counts the labels that a loss is the mean of.
NO_PREFERENCE = -100


@dataclass(frozen=True)
class SharedPair:
    """Two responses, as the first criterion that pairs them has them; a label a criterion: 1 where that one's chosen
    response is preferred, -1 where the other is, else NO_PREFERENCE; and the weights of the pairs it stands for."""

    pair: PreferencePair
    labels: list[int]
    weights: list[float]


def shared_pairs(pairs_by_criterion: PairsByCriterion) -> list[SharedPair]:
    """Each two responses once, however many criteria pair them; criteria in alphabetical order.

    Two responses that one criterion pairs twice stand in two rows, so that they count twice.
    """
    rows: dict[Any, SharedPair] = {}
    for head, criterion in enumerate(sorted(pairs_by_criterion)):
        seen: Counter[Any] = Counter()
        for pair in pairs_by_criterion[criterion]:
            both = frozenset(pair.texts)
            seen[both] += 1
            new = SharedPair(pair, [NO_PREFERENCE] * len(pairs_by_criterion), [])
            row = rows.setdefault((both, seen[both]), new)
            row.labels[head] = 1 if pair.texts == row.pair.texts else -1
            row.weights.append(pair.weight)
    return list(rows.values())


def shared_reward_loss(scores: Tensor, labels: Tensor, preferences: Tensor | int | None = None) -> Tensor:
    """Mean over preferences of -log sigmoid(s_k(chosen) - s_k(rejected)) + c (s_k(chosen) + s_k(rejected))^2.

    The Bradley-Terry loss with the penalty that keeps rewards around 0 (Eisenstein et al. 2023, arXiv:2312.09244,
    eq. 2), as TRL's RewardTrainer has it for one head.

    Args:
        scores: of first responses, then of second ones. Shape: (2 pairs, criteria)
        labels: 1 where the first is preferred, -1 where the second is, or NO_PREFERENCE. Shape: (pairs, criteria)
        preferences: how many the mean is of, where an update takes several batches; by default those in `labels`.
    """
    first, second = scores.chunk(2)
    known = labels != NO_PREFERENCE
    losses = CENTRE * (first + second) ** 2 - logsigmoid(labels * (first - second))
    return losses[known].sum() / (known.sum() if preferences is None else preferences)


def train_shared_encoder(
    source: str,
    pairs_by_criterion: PairsByCriterion,
    held_out_by_criterion: PairsByCriterion,
    recipe: RewardRecipe,
    folder: Path,
) -> dict[str, Any]:
    """Train a head for each criterion, write model and tokenizer to the folder, score all pairs from there.

    Returns:
        Metrics of the run: `criteria` holds those of each head, `accuracy` is over the pairs of all. Heads are in
        alphabetical order of their criteria, so that the order in which they are given changes nothing.

    Raises:
        InputError: a criterion has no pairs.
        StudyError: a score is no number.
    """
    for criterion, pairs in pairs_by_criterion.items():
        if not pairs:
            raise InputError(f"criterion {criterion} has no pairs to train on: leave it out, or give it some")
    quiet_libraries()
    tokenizer = load_reward_tokenizer(source)
    model = load_classifier(source, recipe, sorted(pairs_by_criterion))
    rows = shared_pairs(pairs_by_criterion)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        dataset, truncated = encoded_pairs(
            tokenizer, [row.pair for row in rows], recipe.max_length, Path(work) / "pairs"
        )
        labelled = dataset.add_column("labels", [row.labels for row in rows])
        trainer = Trainer(
            model=model,
            args=reward_arguments(recipe, work),
            train_dataset=in_training_order(labelled, recipe, [statistics.fmean(row.weights) for row in rows]),
            data_collator=_collator(tokenizer),
            compute_loss_func=_loss_of_outputs,
        )
        report_steps(trainer, "shared encoder")
        result = trainer.train()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    scores = _scores(folder, pairs_by_criterion, held_out_by_criterion, recipe.max_length)
    held_out = {
        criterion: ScoredPairs.of(held_out_by_criterion.get(criterion, ()), column)
        for criterion, column in scores.items()
    }
    return {
        "accuracy": _pooled(list(held_out.values())).accuracy(),
        "criteria": {
            criterion: {
                **reward_report(held_out[criterion]),
                **_training_metrics(pairs_by_criterion[criterion], column),
            }
            for criterion, column in scores.items()
        },
        "train_pairs": sum(map(len, pairs_by_criterion.values())),
        "encoded_pairs": len(rows),
        "truncated_responses": truncated,
        "train_loss": result.training_loss,
        "updates": trainer.state.global_step,
        "train_seconds": result.metrics["train_runtime"],
        "curves": curves_of(trainer.state.log_history),
    }


def _collator(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """TRL's batch of first responses and then second ones, with the labels."""
    stock = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)
    return lambda rows: {**stock(rows), "labels": torch.tensor([row["labels"] for row in rows])}


def _loss_of_outputs(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    return shared_reward_loss(outputs.logits, labels, num_items_in_batch)


def _scores(
    folder: Path, pairs_by_criterion: PairsByCriterion, held_out_by_criterion: PairsByCriterion, max_length: int
) -> dict[str, dict[Text, float]]:
    """{criterion: {(prompt, response): raw score}}, every response encoded once."""
    both = [*pairs_by_criterion.values(), *held_out_by_criterion.values()]
    texts = sorted({text for pairs in both for pair in pairs for text in pair.texts})
    columns = Scorer(folder, max_length=max_length).heads(texts)
    return {
        criterion: dict(zip(texts, column, strict=True))
        for criterion, column in zip(sorted(pairs_by_criterion), columns, strict=True)
    }


def _pooled(scored: Sequence[ScoredPairs]) -> ScoredPairs:
    """The pairs of all criteria as if of one."""
    return ScoredPairs(
        [pair for one in scored for pair in one.pairs],
        np.concatenate([one.chosen for one in scored]),
        np.concatenate([one.rejected for one in scored]),
    )


def _training_metrics(pairs: Sequence[PreferencePair], scores: Mapping[Text, float]) -> dict[str, Any]:
    mean, deviation = normalisation(pairs, scores)
    return {
        "reward_mean": mean,
        "reward_sd": deviation,
        "train_pairs": len(pairs),
        "train_prompts": len({key for pair in pairs for key in pair.prompt_ids}),
    }
