"""What clinicians could tell the systems of a design apart by, for the team to read before they do. As
`annotation.blinding_check`, with the texts themselves and without their keys, which may name a system."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from django.core.cache import cache

from annotation.blinding import Finding, habits, self_identifying
from annotation.models import JudgingDesign, Response

KEPT_FOR = 60 * 60 * 24
CHANCE = 0.5


@dataclass(frozen=True)
class TellingResponse:
    """A response with what gives its writer away."""

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
class Telltales:
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


def telltales_of(design: JudgingDesign) -> Telltales:
    """What is found in the responses of the design's pairs, kept in the cache: the pairs of a design do not change."""
    key = f"telltales:{design.pk}"
    found: Telltales | None = cache.get(key)
    if found is None:
        found = find_telltales(design)
        cache.set(key, found, KEPT_FOR)
    return found


def find_telltales(design: JudgingDesign) -> Telltales:
    pairs = design.comparisons.filter(calibration=False).values_list("response_a", "response_b")
    shown = Response.objects.filter(pk__in={pk for pair in pairs for pk in pair}).select_related("prompt", "system")
    names = {response.system.name for response in shown}
    names |= {str(response.sampling[key]) for response in shown for key in ("model", "run") if key in response.sampling}
    arms: dict[str, list[str]] = {}
    for response in shown:
        arms.setdefault(response.system.name, []).append(response.text)
    telling = [
        TellingResponse(response.prompt.text, response.text, found)
        for response in shown
        if (found := self_identifying(response.text, names))
    ]
    # In an order that tells nothing of who wrote which.
    telling.sort(key=lambda response: hashlib.sha256(response.text.encode()).digest())
    return Telltales(len(shown), telling, [(h.guesses, str(h)) for h in habits(arms) if h.guesses > CHANCE])
