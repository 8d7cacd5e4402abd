"""Responses written by a language model or an adapter of it, batch by batch, so that a stopped run goes on."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from django.db import transaction
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from annotation.errors import InputError
from annotation.models import Prompt, Response, Study, System, SystemKind
from training.language_models import load_policy, load_tokenizer
from training.models import Run
from training.progress import quiet_libraries

ATTEMPTS = 3

Track = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn; the paper's values."""

    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"--temperature {self.temperature}: it must be greater than 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p}: it must lie in (0, 1]")
        if self.max_new_tokens < 1:
            raise InputError(f"--max-new-tokens {self.max_new_tokens}: it must be 1 or more")


@dataclass(frozen=True)
class Slot:
    """A response that is wanted: the n-th to a prompt."""

    prompt: Prompt
    number: int

    def key(self, system: System) -> str:
        return f"{self.prompt.key}-{system.name}-{self.number}"

    def __str__(self) -> str:
        return f"prompt {self.prompt.key}, response {self.number}"


class Generator:
    """A policy ready to write, from a base model and perhaps an adapter, which is merged into it."""

    def __init__(self, source: str, adapter: Path | None = None) -> None:
        quiet_libraries()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(source)
        model: Any = load_policy(source)
        if adapter:
            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
        self.model: Any = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        # Some models end a turn by another token than a text.
        own = self.model.generation_config.eos_token_id
        self.ends = {self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}

    def write(self, prompts: Sequence[str], sampling: Sampling, *, seed: int) -> list[str]:
        """A response to each prompt, given as the user's turn and nothing else. Empty where the model wrote nothing."""
        torch.manual_seed(seed)
        inputs: Any = self.tokenizer.apply_chat_template(
            [[{"role": "user", "content": prompt}] for prompt in prompts],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        )
        inputs = inputs.to(self.model.device)
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                do_sample=True,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=0,
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=sorted(self.ends),
                pad_token_id=self.tokenizer.pad_token_id,
            )
        written = output[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]


def system_of(
    study: Study, name: str, run: Run | None, model: str, *, without_run: SystemKind = SystemKind.BASE
) -> System:
    """The study's system of that name, or a new one, not yet saved. `without_run` is its kind where no run wrote.

    Raises:
        InputError: the name belongs to something else, or to another run's or model's responses.
    """
    kind = SystemKind.ADAPTER if run else without_run
    origin = f"{model}, adapter of {run}" if run else model
    system = study.systems.filter(name=name).first()
    if system is None:
        return System(study=study, name=name, kind=kind, description=f"Written by {origin}"[:300])
    first = system.responses.order_by("pk").first()
    written_by = (first.sampling.get("model"), first.sampling.get("run")) if first else None
    if system.kind != kind or written_by not in {None, (model, run.name if run else None)}:
        raise InputError(f"--system {name}: the study has such a system, which is not {origin}: choose another name")
    return system


def plan_batches(prompts: Sequence[Prompt], per_prompt: int, batch_size: int) -> list[list[Slot]]:
    """All wanted responses in batches of prompts of like length; the same for the same arguments."""
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.text), prompt.pk))
    slots = [Slot(prompt, number) for prompt in ordered for number in range(1, per_prompt + 1)]
    return [slots[start : start + batch_size] for start in range(0, len(slots), batch_size)]


def open_slots(system: System, batches: Iterable[Iterable[Slot]]) -> list[Slot]:
    """Those that the system has not written yet, in order."""
    there = set(Response.objects.filter(system=system).values_list("prompt_id", "number"))
    return [slot for batch in batches for slot in batch if (slot.prompt.pk, slot.number) not in there]


def fill(
    generator: Generator,
    system: System,
    batches: Sequence[Sequence[Slot]],
    sampling: Sampling,
    origin: dict[str, Any],
    *,
    track: Track = iter,
) -> tuple[int, list[Slot]]:
    """Write and store the responses that are not there yet, a batch at a time.

    Returns:
        How many were stored, and the slots that stayed empty after ATTEMPTS tries; nothing is stored for those.
    """
    wanted = set(open_slots(system, batches))
    stored, empty = 0, []
    for batch in track([left for batch in batches if (left := [slot for slot in batch if slot in wanted])]):
        written, missing = _write_batch(generator, system, batch, sampling, origin)
        with transaction.atomic():
            Response.objects.bulk_create(written)
        stored += len(written)
        empty += missing
    return stored, empty


def _write_batch(
    generator: Generator, system: System, batch: Sequence[Slot], sampling: Sampling, origin: dict[str, Any]
) -> tuple[list[Response], list[Slot]]:
    written: list[Response] = []
    missing = list(batch)
    for attempt in range(ATTEMPTS):
        if not missing:
            break
        seed = batch_seed(sampling.seed, missing, attempt)
        texts = generator.write([slot.prompt.text for slot in missing], sampling, seed=seed)
        detail = {**origin, **vars(sampling), "batch_seed": seed}
        written += [
            Response(
                prompt=slot.prompt,
                system=system,
                number=slot.number,
                key=slot.key(system),
                text=text,
                sampling=detail,
            )
            for slot, text in zip(missing, texts, strict=True)
            if text
        ]
        missing = [slot for slot, text in zip(missing, texts, strict=True) if not text]
    return written, missing


def batch_seed(seed: int, batch: Sequence[Slot], attempt: int) -> int:
    """A seed of its own for each batch and attempt, so that a resumed run draws what an unbroken one would have."""
    text = f"{seed} {attempt} " + " ".join(f"{slot.prompt.key}:{slot.number}" for slot in batch)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
