"""Responses written by a model behind an OpenAI-compatible endpoint: a server of ours, such as vLLM, or a vendor's."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from openai import AsyncOpenAI

from annotation.errors import InputError, StudyError
from annotation.models import Response, System
from training.endpoint import Endpoint, Failure, UnusableReplyError, ask_each, served_models
from training.generation import Sampling, Slot, batch_seed

Outcome = Response | Failure[Slot]
Track = Callable[[Iterable[Outcome]], Iterable[Outcome]]

# Failures in a row, from the start on, after which the rest would fail as well.
FUTILE = 10
# Servers such as vLLM and llama.cpp cut the tail of the distribution unless they are told not to.
UNCUT = {"top_k": -1, "min_p": 0.0}


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who writes, how tokens are drawn, and what the responses record of both.

    With `standard_fields` nothing is sent that OpenAI's own API does not know.
    """

    endpoint: Endpoint
    sampling: Sampling
    origin: dict[str, Any]
    standard_fields: bool = False

    async def write(self, system: System, client: AsyncOpenAI, slot: Slot, number: int) -> Response:
        """The response, not yet stored. The prompt is the user's turn and nothing else.

        Raises:
            UnusableReplyError: it is empty, or held back by a filter.
        """
        seed = batch_seed(self.sampling.seed, [slot], number)
        reply = await client.chat.completions.create(
            model=self.endpoint.model,
            messages=[{"role": "user", "content": slot.prompt.text}],
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_completion_tokens=self.sampling.max_new_tokens,
            seed=seed,
            extra_body=None if self.standard_fields else UNCUT,
        )
        finish = reply.choices[0].finish_reason if reply.choices else None
        text = ((reply.choices[0].message.content if reply.choices else None) or "").strip()
        if finish == "content_filter":
            raise UnusableReplyError("a filter of the endpoint held the reply back")
        if not text:
            raise UnusableReplyError("the reply is empty")
        detail = {"request_seed": seed, "finish_reason": finish, "answered_by": reply.model}
        return Response(
            prompt=slot.prompt,
            system=system,
            number=slot.number,
            key=slot.key(system),
            text=text,
            sampling={**self.origin, **vars(self.sampling), **detail},
        )


def require_served(endpoint: Endpoint) -> None:
    """Raise InputError if the endpoint lists its models and the one to be asked is not among them.

    Raises:
        StudyError: nothing answers there, or the key is refused.
    """
    served = served_models(endpoint)
    if served and endpoint.model not in served:
        raise InputError(f"--model {endpoint.model}: {endpoint.url} serves {', '.join(sorted(served)[:20])}")


def fill_remotely(
    author: Author, system: System, slots: Sequence[Slot], *, track: Track = iter
) -> tuple[int, list[Failure[Slot]]]:
    """Ask for these responses and store each as it arrives.

    Returns:
        How many were stored, and what failed; nothing is stored for those.

    Raises:
        StudyError: the endpoint does not answer any more or refuses us, or not one of the first requests succeeds.
    """
    stored = 0
    failures: list[Failure[Slot]] = []
    with closing(ask_each(slots, partial(author.write, system), author.endpoint)) as outcomes:
        for outcome in track(outcomes):
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                outcome.save(force_insert=True)
                stored += 1
            if not stored and len(failures) == FUTILE:
                raise StudyError(f"the first {FUTILE} requests all failed ({failures[0].reason}): see --help")
    return stored, failures
