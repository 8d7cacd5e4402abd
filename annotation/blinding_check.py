"""What raters could tell the systems apart by, in the responses they are to be shown."""

from dataclasses import asdict, dataclass
from typing import Any

from annotation.blinding import Finding, Habit, habits, self_identifying
from annotation.errors import InputError
from annotation.models import JudgingDesign, Response, Split, Study


@dataclass(frozen=True)
class BlindingCheck:
    """`findings` go with the keys of their responses. No system is named but by the responses' own words."""

    responses: int
    findings: list[tuple[str, Finding]]
    habits: list[Habit]

    @property
    def telling(self) -> int:
        """The number of responses in which something was found."""
        return len({key for key, _ in self.findings})

    def as_dict(self) -> dict[str, Any]:
        return {
            "responses": self.responses,
            "telling": self.telling,
            "findings": [{"response": key, **asdict(finding)} for key, finding in self.findings],
            "habits": [
                {
                    "habit": h.measure.name,
                    "lesser": h.lesser,
                    "greater": h.greater,
                    "guesses": h.guesses,
                    "said": str(h),
                }
                for h in self.habits
            ],
        }


def check_blinding(study: Study, design: JudgingDesign | None = None) -> BlindingCheck:
    """Search the responses of the design's pairs; without a design all to test and calibration prompts.

    Raises:
        InputError: there are none.
    """
    responses = (
        Response.objects.filter(prompt__study=study).select_related("prompt", "system").order_by("prompt", "key")
    )
    if design:
        pairs = design.comparisons.values_list("response_a", "response_b")
        responses = responses.filter(pk__in={pk for pair in pairs for pk in pair})
    else:
        responses = responses.filter(prompt__split__in=[Split.TEST, Split.CALIBRATION])
    shown = list(responses)
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
    findings = [(response.key, finding) for response in shown for finding in self_identifying(response.text, names)]
    return BlindingCheck(responses=len(shown), findings=findings, habits=habits(texts))
