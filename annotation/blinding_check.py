"""What raters could tell the systems apart by, in the responses they are to be shown.

A response is named by its post: its own key may hold the name of its system.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.core.cache import cache

from annotation.blinding import Finding, habits, self_identifying
from annotation.errors import InputError
from annotation.models import JudgingDesign, Response, Split, Study

KEPT_FOR = 60 * 60 * 24
CHANCE = 0.5


@dataclass(frozen=True)
class TellingResponse:
    """A response with what gives its writer away."""

    question_id: str
    prompt: str
    text: str
    findings: list[Finding]

    @property
    def parts(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces, and whether each is such a phrase."""
        end = 0
        for finding in self.findings:
            yield self.text[end : finding.start], False
            yield self.text[finding.start : finding.end], True
            end = finding.end
        yield self.text[end:], False


@dataclass(frozen=True)
class BlindingCheck:
    """Of how many responses; those with phrases that tell; and habits that one system has more than another, each with
    the share of pairs that it alone tells apart."""

    responses: int
    telling: list[TellingResponse]
    habits: list[tuple[float, str]]

    @property
    def phrases(self) -> list[tuple[str, str, int]]:
        """Kind, phrase in lower case, and in how many responses it stands, the most frequent first."""
        found = Counter(
            phrase
            for response in self.telling
            for phrase in {(finding.kind, " ".join(finding.phrase.lower().split())) for finding in response.findings}
        )
        return sorted(((*phrase, n) for phrase, n in found.items()), key=lambda row: (-row[2], row[:2]))

    def as_dict(self) -> dict[str, Any]:
        return {
            "responses": self.responses,
            "telling": len(self.telling),
            "phrases": [{"kind": kind, "phrase": phrase, "responses": n} for kind, phrase, n in self.phrases],
            "findings": [
                {"question_id": response.question_id, **asdict(finding)}
                for response in self.telling
                for finding in response.findings
            ],
            "habits": [{"said": habit, "guesses": guesses} for guesses, habit in self.habits],
        }


def kept_check(design: JudgingDesign) -> BlindingCheck:
    """As `check_blinding`, kept in the cache: the pairs of a design do not change."""
    key = f"blinding:{design.pk}"
    check: BlindingCheck | None = cache.get(key)
    if check is None:
        check = check_blinding(design.study, design)
        cache.set(key, check, KEPT_FOR)
    return check


def check_blinding(study: Study, design: JudgingDesign | None = None) -> BlindingCheck:
    """Search the responses of the design's pairs; without a design all to test and calibration prompts.

    Raises:
        InputError: there are none.
    """
    shown = responses_of(study, design)
    if not shown:
        raise InputError(
            f"study {study.slug} has no responses to check: generate or import those to test prompts first"
        )
    names = {response.system.name for response in shown}
    names |= {
        str(response.sampling[key]) for response in shown for key in ("model", "run") if response.sampling.get(key)
    }
    texts: dict[str, list[str]] = {}
    # Practice pairs are written by the team, for their differences.
    for response in shown:
        if response.prompt.split == Split.TEST:
            texts.setdefault(response.system.name, []).append(response.text)
    telling = [
        TellingResponse(response.prompt.key, response.prompt.text, response.text, found)
        for response in shown
        if (found := self_identifying(response.text, names))
    ]
    # In an order that tells nothing of who wrote which.
    telling.sort(key=lambda response: hashlib.sha256(response.text.encode()).digest())
    return BlindingCheck(len(shown), telling, [(h.guesses, str(h)) for h in habits(texts) if h.guesses > CHANCE])


def responses_of(study: Study, design: JudgingDesign | None) -> list[Response]:
    responses = Response.objects.filter(prompt__study=study).select_related("prompt", "system")
    if design is None:
        return list(responses.filter(prompt__split__in=[Split.TEST, Split.CALIBRATION]))
    pairs = design.comparisons.values_list("response_a", "response_b")
    return list(responses.filter(pk__in={pk for pair in pairs for pk in pair}))
