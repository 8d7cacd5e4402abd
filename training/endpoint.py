"""Asking an OpenAI-compatible endpoint about many things at once, with patience, and one line where it fails."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import openai
import stamina
from anyio import EndOfStream, create_memory_object_stream
from anyio.from_thread import start_blocking_portal
from anyio.streams.memory import MemoryObjectSendStream
from openai import AsyncOpenAI

from annotation.errors import StudyError

Item = TypeVar("Item")
Reply = TypeVar("Reply")

Ask = Callable[[AsyncOpenAI, Item, int], Awaitable[Reply]]
"""One request about an item; the number counts its tries from 0, so that each can have a seed of its own."""

TRIES = 3
# Errors that the next request would meet as well, so that asking on is of no use.
STOPPING_ERRORS = (
    openai.APIConnectionError,
    openai.AuthenticationError,
    openai.PermissionDeniedError,
    openai.NotFoundError,
    openai.RateLimitError,
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is asked, and how patiently. Times in seconds."""

    url: str
    model: str
    api_key: str
    concurrency: int = 8
    timeout: float = 120
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30


@dataclass(frozen=True, kw_only=True)
class Failure(Generic[Item]):
    """What was asked about and got no usable reply, and why."""

    item: Item
    reason: str


class UnusableReplyError(Exception):
    """The reply is not what was asked for; with another seed it may be."""


def served_models(endpoint: Endpoint) -> list[str]:
    """The ids of the models the endpoint says it serves; empty where it does not say.

    Raises:
        StudyError: nothing answers there, or the key is refused.
    """
    client = openai.OpenAI(base_url=endpoint.url, api_key=endpoint.api_key, max_retries=1, timeout=15)
    with client:
        try:
            return [model.id for model in client.models.list()]
        except (openai.APIConnectionError, openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise _unusable(endpoint, error) from error
        except openai.APIError:
            return []


def ask_each(items: Sequence[Item], ask: Ask[Item, Reply], endpoint: Endpoint) -> Generator[Reply | Failure[Item]]:
    """One outcome an item, in the order in which replies arrive.

    The requests run in a thread of their own, which never sees the database. Leaving the loop early cancels them; no
    more than a request a worker is then paid for in vain.

    Raises:
        StudyError: the endpoint does not answer any more, or refuses us.
    """
    # Without room in it, a worker asks on only once its reply was taken.
    arriving, arrived = create_memory_object_stream[Reply | Failure[Item]](0)
    with arrived, start_blocking_portal() as portal:
        done = portal.start_task_soon(_ask_each, items, ask, endpoint, arriving)
        while True:
            try:
                outcome = portal.call(arrived.receive)
            except EndOfStream:
                break
            yield outcome
        done.result()


async def _ask_each(
    items: Sequence[Item],
    ask: Ask[Item, Reply],
    endpoint: Endpoint,
    arriving: MemoryObjectSendStream[Reply | Failure[Item]],
) -> None:
    waiting = iter(items)
    async with (
        arriving,
        AsyncOpenAI(base_url=endpoint.url, api_key=endpoint.api_key, max_retries=0, timeout=endpoint.timeout) as client,
    ):

        async def work() -> None:
            for item in waiting:
                await arriving.send(await _ask_patiently(client, item, ask, endpoint))

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(endpoint.concurrency):
                    workers.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors


async def _ask_patiently(
    client: AsyncOpenAI, item: Item, ask: Ask[Item, Reply], endpoint: Endpoint
) -> Reply | Failure[Item]:
    """A reply, or a failure once TRIES replies were of no use."""
    retry = stamina.AsyncRetryingCaller(
        attempts=endpoint.attempts,
        timeout=None,
        wait_initial=endpoint.first_wait,
        wait_max=endpoint.longest_wait,
        wait_jitter=endpoint.first_wait,
    ).on(_may_pass)
    reason = ""
    for number in range(TRIES):
        try:
            return await retry(ask, client, item, number)
        except UnusableReplyError as error:
            reason = str(error)
        except STOPPING_ERRORS as error:
            raise _unusable(endpoint, error) from error
        except openai.APIError as error:
            return Failure(item=item, reason=_one_line(error))
    return Failure(item=item, reason=reason)


def _may_pass(error: Exception) -> bool | float:
    """Whether asking again may help; the seconds to wait where the endpoint says so."""
    if isinstance(error, openai.APIConnectionError):
        return True
    if not isinstance(error, openai.APIStatusError) or (
        error.status_code < 500 and error.status_code not in (408, 429)
    ):
        return False
    wait = error.response.headers.get("retry-after", "")
    return float(wait) if wait.isdigit() else True


def _unusable(endpoint: Endpoint, error: openai.APIError) -> StudyError:
    what = "does not answer" if isinstance(error, openai.APIConnectionError) else "refuses the request"
    return StudyError(
        f"endpoint {endpoint.url} {what} ({_one_line(error)}): check --endpoint, --model and the key (--help names its "
        "variable), then run the command again: what came so far is kept"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
