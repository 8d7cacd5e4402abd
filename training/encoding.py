"""How a prompt and a response become the tokens that a reward model reads, in training and in scoring alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

# What is kept of a prompt, at least, when the response alone would fill the window: its last words.
SHORTEST_PROMPT = 16


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    truncated: bool


def load_reward_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(source))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_for_reward(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, max_length: int) -> Encoded:
    """The pair's token ids with the model's own separators, at most `max_length` of them.

    What does not fit is cut from the start of the prompt. The response is cut, at its end, only where it leaves fewer
    than SHORTEST_PROMPT tokens to the prompt.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer")  # noqa: B009 - only fast tokenizers have it, untyped
    # Some files bring a length and a padding of their own.
    backend.no_truncation()
    backend.no_padding()
    first, second = (backend.encode(text, add_special_tokens=False) for text in (prompt, response))
    room = max_length - backend.num_special_tokens_to_add(is_pair=True)
    truncated = len(first) + len(second) > room
    if truncated:
        second.truncate(min(len(second), max(room - min(len(first), SHORTEST_PROMPT), 1)))
        first.truncate(max(min(len(first), room - len(second)), 0), direction="left")
    return Encoded(backend.post_process(first, second).ids, truncated)
