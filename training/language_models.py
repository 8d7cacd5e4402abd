"""Loading of the language models that are aligned."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from annotation.errors import InputError


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """A policy's tokenizer, padding on the left.

    Raises:
        InputError: it cannot be loaded, or has no chat template.
    """
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, source, padding_side="left")
    if not tokenizer.chat_template:
        raise InputError(f"model {source} has no chat template: take an instruction-tuned model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(source: str | Path, *, dtype: torch.dtype = torch.bfloat16, **options: Any) -> PreTrainedModel:
    """A causal language model, on the GPU if there is one.

    Raises:
        InputError: it cannot be loaded.
    """
    model: PreTrainedModel = _load(AutoModelForCausalLM, source, dtype=dtype, **options)
    return model


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load(auto_class: Any, source: str | Path, **options: Any) -> Any:
    try:
        return auto_class.from_pretrained(str(source), **options)
    except (OSError, ValueError) as error:
        raise InputError(f"model {source} cannot be loaded: {str(error).strip().splitlines()[0]}") from error
