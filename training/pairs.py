"""Preference pairs: made from an aggregate order, written and read in the formats of TRL and of the paper's authors."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from annotation.errors import InputError
from annotation.files import Entry, read_json_lines, read_json_list, read_text


@dataclass(frozen=True)
class PreferencePair:
    """Two responses to a prompt. `rank_gap` is how many places they stand apart; `weight` is the pair's share of
    the ranking it came from, so that a ranking counts once however many pairs it makes.

    In a pair across prompts, from which reward models can learn, the rejected response answers a prompt of its own.
    """

    prompt_id: str
    prompt: str
    chosen_id: str
    chosen: str
    rejected_id: str
    rejected: str
    rank_gap: int = 1
    weight: float = 1.0
    rejected_prompt_id: str | None = None
    rejected_prompt: str | None = None

    @property
    def prompt_ids(self) -> tuple[str, str]:
        """What the chosen and what the rejected response answers."""
        return self.prompt_id, self.prompt_id if self.rejected_prompt_id is None else self.rejected_prompt_id

    @property
    def texts(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """(prompt, response) of the chosen and of the rejected response."""
        rejected_prompt = self.prompt if self.rejected_prompt is None else self.rejected_prompt
        return (self.prompt, self.chosen), (rejected_prompt, self.rejected)


@dataclass(frozen=True)
class AggregateRanking:
    """The responses to a prompt, best first, with their ids and the scores that ordered them."""

    prompt_id: str
    prompt: str
    response_ids: tuple[str, ...]
    responses: tuple[str, ...]
    scores: tuple[float, ...]

    def differ(self, better: int, worse: int) -> bool:
        """Whether the responses at these places can make a pair: not tied, and not the same text."""
        return self.scores[better] > self.scores[worse] and self.responses[better] != self.responses[worse]

    def pair(self, better: int, worse: int, weight: float) -> PreferencePair:
        return PreferencePair(
            prompt_id=self.prompt_id,
            prompt=self.prompt,
            chosen_id=self.response_ids[better],
            chosen=self.responses[better],
            rejected_id=self.response_ids[worse],
            rejected=self.responses[worse],
            rank_gap=worse - better,
            weight=weight,
        )


def best_worst_pair(ranking: AggregateRanking) -> list[PreferencePair]:
    """The best response over the worst, as in the paper; nothing if those two are tied."""
    last = len(ranking.responses) - 1
    return [ranking.pair(0, last, 1.0)] if last > 0 and ranking.differ(0, last) else []


def all_pairs(ranking: AggregateRanking) -> list[PreferencePair]:
    """Every two responses that are not tied; the weights sum to 1."""
    places = [two for two in combinations(range(len(ranking.responses)), 2) if ranking.differ(*two)]
    return [ranking.pair(better, worse, 1 / len(places)) for better, worse in places]


def trl_pair(pair: PreferencePair) -> dict[str, Any]:
    """The pair as a record of TRL's conversational preference format, ids, gap and weight beside it."""
    return {
        "prompt": [{"role": "user", "content": pair.prompt}],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "prompt_id": pair.prompt_id,
        "chosen_id": pair.chosen_id,
        "rejected_id": pair.rejected_id,
        "rank_gap": pair.rank_gap,
        "weight": pair.weight,
    }


def authors_pair(pair: PreferencePair) -> dict[str, Any]:
    """The pair as an object of `{criterion}_pairs.json`."""
    return {
        "question_id": pair.prompt_id,
        "question_text": pair.prompt,
        "chosen": {"response_id": pair.chosen_id, "response_text": pair.chosen},
        "rejected": {"response_id": pair.rejected_id, "response_text": pair.rejected},
    }


def authors_ranking(ranking: AggregateRanking) -> dict[str, Any]:
    """The ranking as an object of `{criterion}_rankings.json`."""
    responses = zip(ranking.response_ids, ranking.responses, strict=True)
    return {
        "question_id": ranking.prompt_id,
        "question_text": ranking.prompt,
        "ranking": [
            {"rank": rank, "response_id": response_id, "response_text": text}
            for rank, (response_id, text) in enumerate(responses, start=1)
        ],
    }


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a file: JSONL in TRL's preference formats (conversational or plain text) or the authors' JSON.

    Without a column prompt, each response brings its own in front of it, as a conversation, or has none, as a text.
    Ids that the file lacks are drawn from the texts, so that equal prompts keep one id and splits by prompt hold.

    Raises:
        InputError: the file is wrong; the message names row and column.
    """
    if read_text(path).lstrip().startswith("["):
        return [_from_authors(entry) for entry in read_json_list(path)]
    return [_from_trl(entry) for entry in read_json_lines(path)]


def require_one_prompt(pairs: Iterable[PreferencePair]) -> None:
    """Refuse pairs that tell a policy nothing, though a reward model can learn from them.

    Raises:
        InputError: the two responses of a pair answer different prompts, or none.
    """
    for pair in pairs:
        if not pair.prompt or pair.rejected_prompt_id is not None:
            raise InputError(
                f"the pair {pair.chosen_id} over {pair.rejected_id} is not of two responses to one prompt: "
                "a policy needs the prompt that both answer, reward models alone learn from other pairs"
            )


def _from_authors(entry: Entry) -> PreferencePair:
    chosen, rejected = entry.entry("chosen"), entry.entry("rejected")
    return PreferencePair(
        prompt_id=entry.identifier("question_id"),
        prompt=entry.text("question_text"),
        chosen_id=chosen.identifier("response_id"),
        chosen=chosen.text("response_text"),
        rejected_id=rejected.identifier("response_id"),
        rejected=rejected.text("response_text"),
    )


def _from_trl(entry: Entry) -> PreferencePair:
    shared = _message(entry, "prompt", "user") if "prompt" in entry else None
    (prompt, chosen), (rejected_prompt, rejected) = (_side(entry, side, shared) for side in ("chosen", "rejected"))
    # A response without a prompt has only itself to be told by.
    prompt_id = _id(entry, "prompt_id", prompt or chosen)
    is_shared = prompt == rejected_prompt and "prompt_id" in entry and "rejected_prompt_id" not in entry
    rejected_prompt_id = prompt_id if is_shared else _id(entry, "rejected_prompt_id", rejected_prompt or rejected)
    is_across = rejected_prompt_id != prompt_id
    if (prompt, chosen) == (rejected_prompt, rejected):
        entry.fail("rejected", "it is the text that was chosen: a pair needs two responses")
    if prompt != rejected_prompt and not (is_across and ("prompt_id" in entry) == ("rejected_prompt_id" in entry)):
        entry.fail("rejected_prompt_id", "both prompts need an id of their own, or neither, since they differ")
    return PreferencePair(
        prompt_id=prompt_id,
        prompt=prompt,
        chosen_id=_id(entry, "chosen_id", chosen),
        chosen=chosen,
        rejected_id=_id(entry, "rejected_id", rejected),
        rejected=rejected,
        rank_gap=int(_number(entry, "rank_gap")),
        weight=float(_number(entry, "weight")),
        rejected_prompt_id=rejected_prompt_id if is_across else None,
        rejected_prompt=rejected_prompt if is_across else None,
    )


def _side(entry: Entry, column: str, shared: str | None) -> tuple[str, str]:
    """Prompt and response. Without a shared prompt, two messages are both, and anything else a response alone."""
    if shared is not None:
        return shared, _message(entry, column, "assistant")
    if isinstance(messages := entry.values.get(column), list) and len(messages) > 1:
        roles = [message.values.get("role") for message in entry.entries(column)]
        if roles != ["user", "assistant"]:
            entry.fail(column, "without a column prompt, two messages are required here: of the user, of the assistant")
        first, second = (Entry(entry.path, entry.line, {column: [message]}) for message in messages)
        return _message(first, column, "user"), _message(second, column, "assistant")
    return "", _message(entry, column, "assistant")


def _message(entry: Entry, column: str, role: str) -> str:
    """A plain text, or the content of the one message it is wrapped in."""
    value = entry.values.get(column)
    if isinstance(value, str):
        return entry.text(column)
    if not (
        isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].get("role") == role
    ):
        entry.fail(column, f"a text is required here, or a list of one message of the role {role}")
    return Entry(entry.path, entry.line, {column: value[0].get("content")}).text(column)


def _id(entry: Entry, column: str, text: str) -> str:
    """The id given, else one that equal texts share."""
    return entry.identifier(column) if column in entry else _id_of(text)


def _number(entry: Entry, column: str) -> int | float:
    value = entry.values.get(column, 1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        entry.fail(column, "a number above 0 is required here")
    return value


def _id_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def record_writer(path: Path, *, as_list: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes one record after another: as lines of JSONL, or as a JSON list, never held whole."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        parting = "[\n"

        def write_line(record: dict[str, Any]) -> None:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        def write_item(record: dict[str, Any]) -> None:
            nonlocal parting
            file.write(parting + json.dumps(record, ensure_ascii=False))
            parting = ",\n"

        yield write_item if as_list else write_line
        if as_list:
            file.write("[]\n" if parting == "[\n" else "\n]\n")
