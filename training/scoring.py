"""Scores of a trained reward model, read from disk in fp32 and run in batches of like length."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from annotation.errors import InputError
from training.encoding import encode_for_reward, load_reward_tokenizer
from training.runs import read_record

Track = Callable[[Iterable[Any]], Iterable[Any]]


def score_texts(
    folder: Path, texts: Sequence[tuple[str, str]], *, batch_size: int = 64, normalised: bool = True
) -> list[float]:
    """Reward of each (prompt, response), in the order given.

    Args:
        folder: a finished reward-model run.
        normalised: in deviations from the mean of the run's training responses; else the head's raw output.

    Raises:
        InputError: the folder holds no finished reward model.
    """
    record = read_record(folder)
    if record["kind"] != "reward_model":
        raise InputError(f"{folder} is a run of kind {record['kind']}: scoring needs a reward model")
    raw = raw_scores(folder, texts, max_length=record["config"]["max_length"], batch_size=batch_size)
    return [normalise(score, record["metrics"]) for score in raw] if normalised else raw


def normalise(raw: float, metrics: dict[str, Any]) -> float:
    """Mean 0 and deviation 1 over the responses the reward model was trained on."""
    return float((raw - metrics["reward_mean"]) / metrics["reward_sd"])


def raw_scores(
    folder: Path, texts: Sequence[tuple[str, str]], *, max_length: int, batch_size: int = 64, track: Track = iter
) -> list[float]:
    """The scalar head's output for each (prompt, response)."""
    tokenizer = load_reward_tokenizer(folder)
    model = AutoModelForSequenceClassification.from_pretrained(str(folder), num_labels=1, dtype=torch.float32)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    ids = [encode_for_reward(tokenizer, prompt, response, max_length).ids for prompt, response in texts]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    scores = [0.0] * len(ids)
    for start in track(range(0, len(order), batch_size)):
        batch = order[start : start + batch_size]
        for index, score in zip(batch, _forward(model, tokenizer, [ids[index] for index in batch]), strict=True):
            scores[index] = score
    return scores


def _forward(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: list[list[int]]) -> list[float]:
    # Token types are left out here because TRL's collator leaves them out in training.
    padded = tokenizer.pad({"input_ids": batch}, padding_side="right", return_tensors="pt").to(model.device)
    with torch.inference_mode():
        logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    scores: list[float] = logits.squeeze(-1).float().tolist()
    return scores
