"""Scores of a trained reward model, read from disk in fp32 and run in batches of like length.

On a CPU each core has batches of its own: a few texts fill it, and cores that share a batch wait for one another.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.mkldnn import to_mkldnn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from annotation.errors import InputError, StudyError
from training.encoding import encode_for_reward, load_reward_tokenizer
from training.runs import read_record

# What is quickest: on a CPU the batch that stays in a core's cache.
BATCH_SIZES = {"cpu": 8, "cuda": 64}

Track = Callable[[Iterable[Any]], Iterable[Any]]
Texts = Sequence[tuple[str, str]]
"""(prompt, response)"""


class Scorer:
    """A reward model, loaded once for any number of texts."""

    def __init__(self, folder: Path, *, max_length: int, batch_size: int | None = None) -> None:
        """
        Raises:
            InputError: a file of the model is missing or damaged.
        """
        _require_whole(folder)
        self.tokenizer = load_reward_tokenizer(folder)
        self.model = _load(folder)
        self.max_length = max_length
        self.batch_size = batch_size or BATCH_SIZES[self.model.device.type]

    def heads(self, texts: Texts, *, track: Track = iter) -> list[list[float]]:
        """Each head's raw output on each text, in the order given. Shape: (heads, texts)

        Raises:
            StudyError: an output is no finite number.
        """
        # Once each: in batches of other lengths one text would have scores that differ in the last digit.
        distinct = list(dict.fromkeys(texts))
        scores = dict(zip(distinct, self._scores(distinct, track), strict=True))
        return [[scores[text][head] for text in texts] for head in range(self.model.config.num_labels)]

    def _scores(self, texts: Texts, track: Track) -> list[list[float]]:
        """Shape: (texts, heads)"""
        ids = [encode_for_reward(self.tokenizer, *text, self.max_length).ids for text in texts]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        every_output = self._outputs([[ids[index] for index in batch] for batch in batches])
        scores: list[list[float]] = [[]] * len(ids)
        for batch in track(batches):
            outputs = next(every_output)
            for index, score in zip(batch, outputs, strict=True):
                _require_finite(score, texts[index])
                scores[index] = score
        return scores

    def _outputs(self, batches: list[list[list[int]]]) -> Iterator[list[list[float]]]:
        """Of each batch in turn. Shape of each: (batch, heads)"""
        forward = partial(_forward, self.model, self.tokenizer)
        cores = torch.get_num_threads() if self.model.device.type == "cpu" else 1
        if cores == 1:
            yield from map(forward, batches)
        else:
            # torch keeps the number for each thread apart, and the last one said for threads to come.
            try:
                with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    yield from pool.map(forward, batches)
            finally:
                torch.set_num_threads(cores)


class RunScorer:
    """The reward model of a finished run, whose heads have criteria and constants of normalisation."""

    def __init__(self, folder: Path, *, batch_size: int | None = None) -> None:
        """
        Raises:
            InputError: the folder holds no finished reward model, or a damaged one.
        """
        record = _reward_record(folder)
        self.metrics = head_metrics(record)
        self.scorer = Scorer(folder, max_length=record["config"]["max_length"], batch_size=batch_size)
        if (heads := self.scorer.model.config.num_labels) != len(self.metrics):
            raise InputError(f"{folder}: run.json names {len(self.metrics)} criteria, and the model has {heads} heads")

    def raw(self, texts: Texts, *, track: Track = iter) -> dict[str, list[float]]:
        """{criterion: raw output of its head on each text}"""
        return dict(zip(self.metrics, self.scorer.heads(texts, track=track), strict=True))

    def normalise(self, criterion: str, raw: float) -> float:
        """Mean 0 and deviation 1 over the responses that the criterion was learned from."""
        metrics = self.metrics[criterion]
        return float((raw - metrics["reward_mean"]) / metrics["reward_sd"])

    def rewards(self, texts: Texts, *, track: Track = iter) -> dict[str, list[float]]:
        """{criterion: normalised reward of each text}"""
        raw = self.raw(texts, track=track)
        return {criterion: [self.normalise(criterion, one) for one in column] for criterion, column in raw.items()}


def head_metrics(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{criterion: what its head's training found out}, in the order of the heads; one entry unless heads share an
    encoder.

    Raises:
        InputError: the record names no criterion.
    """
    if shared := record["metrics"].get("criteria"):
        return {criterion: shared[criterion] for criterion in record["config"]["criteria"]}
    if not (criterion := record["config"].get("criterion")):
        raise InputError("the run's record names no criterion that its reward model learned: train it anew")
    return {criterion: record["metrics"]}


def score_columns(folder: Path, texts: Texts) -> dict[str, list[float]]:
    """{criterion: normalised reward of each text} by a finished run, all its heads in one pass."""
    return RunScorer(folder).rewards(texts)


def score_texts(
    folder: Path, texts: Texts, criterion: str | None = None, *, batch_size: int | None = None, normalised: bool = True
) -> list[float]:
    """Reward of each (prompt, response) on a criterion, in the order given.

    Args:
        folder: a finished reward-model run.
        criterion: may be left out where the reward model has one.
        normalised: in deviations from the mean of the run's training responses; else the head's raw output.

    Raises:
        InputError: the folder holds no finished reward model of the criterion.
        StudyError: a reward is no number.
    """
    scorer = RunScorer(folder, batch_size=batch_size)
    learned = list(scorer.metrics)
    if criterion is None and len(learned) > 1:
        raise InputError(f"{folder} is a reward model of {', '.join(learned)}: name one of them")
    if criterion is not None and criterion not in learned:
        raise InputError(f"{folder} is a reward model of {', '.join(learned)}, not of {criterion}")
    columns = scorer.rewards(texts) if normalised else scorer.raw(texts)
    return columns[criterion or learned[0]]


def raw_scores(
    folder: Path, texts: Texts, *, max_length: int, batch_size: int | None = None, track: Track = iter
) -> list[float]:
    """The output of a reward model's one head for each (prompt, response)."""
    [column] = Scorer(folder, max_length=max_length, batch_size=batch_size).heads(texts, track=track)
    return column


def _reward_record(folder: Path) -> dict[str, Any]:
    _require_whole(folder)
    record = read_record(folder)
    if record["kind"] != "reward_model":
        raise InputError(f"{folder} is a run of kind {record['kind']}: scoring needs a reward model")
    return record


def _require_whole(folder: Path) -> None:
    """Raise InputError where a JSON file was cut off: the libraries' own errors for it are of many kinds."""
    for file in sorted(folder.glob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{file} is damaged: {error}: restore the run's folder or train it anew") from error


def _load(folder: Path) -> Any:
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(str(folder), dtype=torch.float32)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the model in {folder} is damaged: {reason}: restore it or train it anew") from error
    if torch.cuda.is_available():
        return model.eval().to("cuda")
    # Untyped in torch.
    packed: Any = to_mkldnn
    return packed(model.eval()) if _gains_by_packing() else model.eval()


def _gains_by_packing() -> bool:
    """Whether weights packed for oneDNN, fp32 as before, are quicker: MKL leaves AVX-512 idle on CPUs that are not
    Intel's, where packing was up to 1.4 times as fast; on Intel's it was a tenth slower."""
    onednn: Any = torch.backends.mkldnn
    cpu = Path("/proc/cpuinfo")
    intel = cpu.exists() and "GenuineIntel" in cpu.read_text()
    return bool(onednn.is_available()) and not intel


def _require_finite(scores: Sequence[float], text: tuple[str, str]) -> None:
    if not all(map(math.isfinite, scores)):
        bad = next(score for score in scores if not math.isfinite(score))
        raise StudyError(
            f"the reward model gives {bad} to the response {text[1][:40]!r}: its training went astray, "
            "train it anew with a lower --learning-rate"
        )


def _forward(model: Any, tokenizer: PreTrainedTokenizerBase, batch: list[list[int]]) -> list[list[float]]:
    """Shape: (batch, heads)"""
    # Token types are left out here because TRL's collator leaves them out in training.
    padded = tokenizer.pad({"input_ids": batch}, padding_side="right", return_tensors="pt").to(model.device)
    with torch.inference_mode():
        logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    scores: list[list[float]] = logits.float().tolist()
    return scores
