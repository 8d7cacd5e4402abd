"""An LLM behind any OpenAI-compatible endpoint as a judge."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from openai import AsyncOpenAI

from annotation.display import displayed
from annotation.models import Assignment, Choice, Criterion
from evaluation.judging import Vote
from training.endpoint import Endpoint, Failure, UnusableReplyError, ask_each

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


class InvalidReplyError(UnusableReplyError):
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


def ask_all(
    assignments: Sequence[Assignment], criteria: Sequence[Criterion], config: dict[str, Any], endpoint: Endpoint
) -> Iterator[Vote | Failure[Assignment]]:
    """One outcome an assignment, in the order in which replies arrive.

    Raises:
        StudyError: the endpoint does not answer any more, or refuses us.
    """
    return ask_each(assignments, _Interview(criteria, config, endpoint.model).ask, endpoint)


class _Interview:
    """The requests of one run: same criteria, config and model."""

    def __init__(self, criteria: Sequence[Criterion], config: dict[str, Any], model: str) -> None:
        self.criteria = criteria
        self.config = config
        self.model = model
        self.instructions = instructions(criteria)
        self.format: Any = {
            "type": "json_schema",
            "json_schema": {"name": "verdicts", "strict": True, "schema": reply_schema(criteria)},
        }

    async def ask(self, client: AsyncOpenAI, assignment: Assignment, number: int) -> Vote:
        started = time.perf_counter()
        reply = await client.chat.completions.create(
            model=self.model,
            messages=[
                {"role": "system", "content": self.instructions},
                {"role": "user", "content": _question(assignment)},
            ],
            temperature=self.config["temperature"],
            seed=self.config["seed"] + number,
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
