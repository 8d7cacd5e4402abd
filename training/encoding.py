"""How a prompt and a response become the tokens that a reward model reads, in training and in scoring alike."""

from dataclasses import dataclass
from pathlib import Path

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
    room = max_length - len(tokenizer("", "")["input_ids"])
    prompt_end = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    answer_end = tokenizer(response, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if len(prompt_end) + len(answer_end) <= room:
        return Encoded(tokenizer(prompt, response)["input_ids"], truncated=False)
    for_response = min(len(answer_end), max(room - min(len(prompt_end), SHORTEST_PROMPT), 1))
    for_prompt = max(room - for_response, 0)
    response = response[: answer_end[for_response - 1][1]]
    prompt = prompt[prompt_end[-for_prompt][0] :] if for_prompt else ""
    # A text cut at a token's edge may come out a token longer; the window still holds.
    ids = tokenizer(prompt, response, truncation="only_first" if prompt else "only_second", max_length=max_length)
    return Encoded(ids["input_ids"], truncated=True)
