"""An LLM behind any OpenAI-compatible endpoint as a judge."""

import asyncio
import hashlib
import json
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import openai
import stamina
from anyio.from_thread import start_blocking_portal
from openai import AsyncOpenAI

from annotation.comparisons import displayed
from annotation.errors import StudyError
from annotation.models import Assignment, Choice, Criterion
from evaluation.judging import Vote

INSTRUCTIONS = """\
You compare two responses to a post by a person who seeks help. Judge them only by the criteria below, each for itself.
Neither the length of a response nor the order in which the two are shown says anything about their quality.

{criteria}

For every criterion answer "A" if Response A is better, "B" if Response B is better, and "tie" if neither is.
Answer with one JSON object and nothing else: {shape}"""
CRITERION = """\
{key}: {question}
  Better when: {better_when}
  Worse when: {worse_when}"""
QUESTION = """\
<post>
{post}
</post>

<response_a>
{left}
</response_a>

<response_b>
{right}
</response_b>"""
CHOICES = {"A": Choice.LEFT, "tie": Choice.TIE, "B": Choice.RIGHT}
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
    """Where the judge is asked, and how patiently. Times in seconds."""

    url: str
    model: str
    api_key: str
    concurrency: int = 8
    timeout: float = 120
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An assignment that got no usable reply, and why."""

    assignment: Assignment
    reason: str


class InvalidReplyError(Exception):
    """The reply is not the JSON object that was asked for."""


def instructions(criteria: Sequence[Criterion]) -> str:
    """The system message: what is judged, in the study's own words, and the shape of the answer."""
    described = "\n\n".join(
        CRITERION.format(key=c.key, question=c.question, better_when=c.better_when, worse_when=c.worse_when)
        for c in criteria
    )
    shape = "{" + ", ".join(f'"{criterion.key}": "A" | "tie" | "B"' for criterion in criteria) + "}"
    return INSTRUCTIONS.format(criteria=described, shape=shape)


def judge_config(criteria: Sequence[Criterion], *, seed: int, temperature: float = 0.0) -> dict[str, Any]:
    """What fixes an LLM judge's opinions, beside its model. The hash covers all wording but the posts."""
    wording = instructions(criteria) + QUESTION
    return {
        "temperature": temperature,
        "seed": seed,
        "criteria": [criterion.key for criterion in criteria],
        "prompt_sha256": hashlib.sha256(wording.encode()).hexdigest(),
    }


def reply_schema(criteria: Sequence[Criterion]) -> dict[str, Any]:
    keys = [criterion.key for criterion in criteria]
    return {
        "type": "object",
        "properties": {key: {"type": "string", "enum": list(CHOICES)} for key in keys},
        "required": keys,
        "additionalProperties": False,
    }


def parse_reply(text: str, criteria: Sequence[Criterion]) -> dict[Criterion, Choice]:
    """The verdicts in a reply.

    Raises:
        InvalidReplyError: it is not a JSON object, or a criterion is missing or neither A, tie nor B.
    """
    try:
        answers = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidReplyError(f"not JSON: {text[:80]!r}") from error
    if not isinstance(answers, dict):
        raise InvalidReplyError(f"no JSON object: {text[:80]!r}")
    for criterion in criteria:
        if answers.get(criterion.key) not in list(CHOICES):
            raise InvalidReplyError(f"{criterion.key} is {answers.get(criterion.key)!r}, not A, tie or B")
    return {criterion: CHOICES[answers[criterion.key]] for criterion in criteria}


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


def ask_all(
    assignments: Sequence[Assignment], criteria: Sequence[Criterion], config: dict[str, Any], endpoint: Endpoint
) -> Iterator[Vote | Failure]:
    """One outcome an assignment, in the order in which replies arrive.

    The requests run in a thread of their own, which never sees the database. Leaving the loop early cancels them.

    Raises:
        StudyError: the endpoint does not answer any more, or refuses us.
    """
    arrived: queue.SimpleQueue[Vote | Failure | None] = queue.SimpleQueue()
    interview = _Interview(criteria, config, endpoint)
    with start_blocking_portal() as portal:
        done = portal.start_task_soon(interview.ask_all, assignments, arrived.put)
        done.add_done_callback(lambda _: arrived.put(None))
        while (outcome := arrived.get()) is not None:
            yield outcome
        done.result()


class _Interview:
    """The requests of one run: same criteria, config and endpoint."""

    def __init__(self, criteria: Sequence[Criterion], config: dict[str, Any], endpoint: Endpoint) -> None:
        self.criteria = criteria
        self.config = config
        self.endpoint = endpoint
        self.instructions = instructions(criteria)
        self.format: Any = {
            "type": "json_schema",
            "json_schema": {"name": "verdicts", "strict": True, "schema": reply_schema(criteria)},
        }
        self.retry = stamina.AsyncRetryingCaller(
            attempts=endpoint.attempts,
            timeout=None,
            wait_initial=endpoint.first_wait,
            wait_max=endpoint.longest_wait,
            wait_jitter=endpoint.first_wait,
        ).on(_may_pass)

    async def ask_all(self, assignments: Sequence[Assignment], put: Callable[[Vote | Failure], None]) -> None:
        waiting = iter(assignments)
        async with AsyncOpenAI(
            base_url=self.endpoint.url,
            api_key=self.endpoint.api_key,
            max_retries=0,
            timeout=self.endpoint.timeout,
        ) as client:

            async def work() -> None:
                for assignment in waiting:
                    put(await self.ask(client, assignment))

            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self.endpoint.concurrency):
                        workers.create_task(work())
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors

    async def ask(self, client: AsyncOpenAI, assignment: Assignment) -> Vote | Failure:
        """A vote, or a failure once three replies, each with its own seed, were of no use."""
        reason = ""
        for extra in range(3):
            try:
                return await self.retry(self.ask_once, client, assignment, self.config["seed"] + extra)
            except InvalidReplyError as error:
                reason = str(error)
            except STOPPING_ERRORS as error:
                raise _unusable(self.endpoint, error) from error
            except openai.APIError as error:
                return Failure(assignment=assignment, reason=_one_line(error))
        return Failure(assignment=assignment, reason=reason)

    async def ask_once(self, client: AsyncOpenAI, assignment: Assignment, seed: int) -> Vote:
        started = time.perf_counter()
        reply = await client.chat.completions.create(
            model=self.endpoint.model,
            messages=[
                {"role": "system", "content": self.instructions},
                {"role": "user", "content": _question(assignment)},
            ],
            temperature=self.config["temperature"],
            seed=seed,
            response_format=self.format,
        )
        text = (reply.choices[0].message.content if reply.choices else None) or ""
        return Vote(
            assignment=assignment,
            choices=parse_reply(text, self.criteria),
            text=text,
            seconds=time.perf_counter() - started,
            prompt_tokens=reply.usage.prompt_tokens if reply.usage else None,
            completion_tokens=reply.usage.completion_tokens if reply.usage else None,
        )


def _question(assignment: Assignment) -> str:
    post = assignment.comparison.response_a.prompt.text
    return QUESTION.format(post=post, left=displayed(assignment.left.text), right=displayed(assignment.right.text))


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
        f"endpoint {endpoint.url} {what} ({_one_line(error)}): check --endpoint, --model and ATTUNE_JUDGE_API_KEY, "
        "then run the command again: votes so far are kept"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
