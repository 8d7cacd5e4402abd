"""Calibration pairs: written by the study team with the verdicts it holds right, for clinicians to practise on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annotation.errors import StudyError
from annotation.models import (
    Comparison,
    Criterion,
    JudgingDesign,
    Prompt,
    ReferenceVerdict,
    Response,
    Split,
    System,
    SystemKind,
    Winner,
)
from annotation.toml_tables import Table, parse_table, read_table

CALIBRATION_SYSTEM = "calibration"


@dataclass(frozen=True)
class Reference:
    winner: Winner
    explanation: str


@dataclass(frozen=True)
class CalibrationPair:
    """A prompt of its own, or the key of one of the study's; two responses; the verdicts by criterion."""

    table: Table
    prompt: str
    question_id: str
    risk: bool
    texts: tuple[str, str]
    verdicts: dict[str, Reference]


def read_calibration(path: Path) -> list[CalibrationPair]:
    """The pairs of the TOML file, in the order in which every clinician meets them.

    Raises:
        InputError: something is missing or wrong; the message names the file and the pair.
    """
    return _pairs(read_table(path))


def parse_calibration(text: str, *, where: str) -> list[CalibrationPair]:
    """As `read_calibration`, of the file's text, which `where` names in messages."""
    return _pairs(parse_table(text, where=where))


def _pairs(document: Table) -> list[CalibrationPair]:
    document.only("pairs")
    return [_pair(table) for table in document.tables("pairs")]


def _pair(table: Table) -> CalibrationPair:
    table.only("prompt", "question_id", "risk", "a", "b", "verdicts")
    prompt, question_id = (table.text(key, default="") for key in ("prompt", "question_id"))
    if bool(prompt) == bool(question_id):
        table.fail("give either prompt, its text, or question_id, a prompt of the study")
    verdicts = table.table("verdicts")
    return CalibrationPair(
        table=table,
        prompt=prompt,
        question_id=question_id,
        risk=table.take("risk", bool, default=False),
        texts=(table.text("a"), table.text("b")),
        verdicts={key: _reference(verdicts.table(key)) for key in verdicts.values},
    )


def _reference(table: Table) -> Reference:
    table.only("winner", "explanation")
    winner = table.text("winner")
    if winner not in Winner.values:
        table.fail(f"winner {winner!r} is unknown: it is one of {', '.join(Winner.values)}")
    return Reference(Winner(winner), table.text("explanation", max_length=500, default=""))


def create_calibration(design: JudgingDesign, pairs: Sequence[CalibrationPair]) -> list[Comparison]:
    """The design's calibration comparisons, A being the file's first text, each on a prompt of its own, so that
    neither participants nor models ever meet what clinicians practise on.

    Raises:
        InputError: a question_id is unknown or of the test split, or a verdict is on no judged criterion.
    """
    if not pairs:
        return []
    criteria = {criterion.key: criterion for criterion in design.study.criteria.filter(judged=True)}
    system, _ = System.objects.get_or_create(
        study=design.study,
        name=CALIBRATION_SYSTEM,
        defaults={"kind": SystemKind.HUMAN, "description": "Written by the study team for clinicians to practise on"},
    )
    return [_create(design, system, criteria, number, pair) for number, pair in enumerate(pairs, start=1)]


def _create(
    design: JudgingDesign, system: System, criteria: dict[str, Criterion], number: int, pair: CalibrationPair
) -> Comparison:
    if unknown := sorted(pair.verdicts.keys() - criteria.keys()):
        pair.table.fail(f"nobody judges on {unknown[0]!r}: the criteria are {', '.join(criteria) or 'none'}")
    text, risk = _text_and_risk(design, pair)
    key = f"calibration-{design.pk}-{number}"
    prompt = Prompt.objects.create(study=design.study, key=key, text=text, risk=risk, split=Split.CALIBRATION)
    first, second = (
        Response.objects.create(prompt=prompt, system=system, number=place, key=f"{key}-{place}", text=response)
        for place, response in enumerate(pair.texts, start=1)
    )
    comparison = Comparison.objects.create(
        study=design.study, design=design, calibration=True, response_a=first, response_b=second
    )
    ReferenceVerdict.objects.bulk_create(
        ReferenceVerdict(
            comparison=comparison,
            criterion=criteria[key],
            winner=reference.winner,
            explanation=reference.explanation,
        )
        for key, reference in pair.verdicts.items()
    )
    return comparison


def _text_and_risk(design: JudgingDesign, pair: CalibrationPair) -> tuple[str, bool]:
    if pair.prompt:
        return pair.prompt, pair.risk
    prompt = design.study.prompts.filter(key=pair.question_id).first()
    if prompt is None:
        pair.table.fail(f"study {design.study.slug} has no prompt {pair.question_id!r}")
    if prompt.split == Split.TEST:
        pair.table.fail(f"prompt {pair.question_id} is of the test split, which is kept for the real pairs")
    return prompt.text, prompt.risk or pair.risk


def require_references(design: JudgingDesign) -> None:
    """Raise StudyError if a calibration pair lacks the team's verdict on a judged criterion."""
    judged = {criterion.pk: criterion.name for criterion in design.study.criteria.filter(judged=True)}
    practice = design.comparisons.filter(calibration=True).prefetch_related("reference_verdicts")
    for number, comparison in enumerate(practice.order_by("pk"), start=1):
        given = {reference.criterion_id for reference in comparison.reference_verdicts.all()}
        if missing := [name for pk, name in judged.items() if pk not in given]:
            raise StudyError(
                f"calibration pair {number} of design {design} has no reference verdict on {', '.join(missing)}: "
                "discard the design and draw it anew with a file that gives them"
            )
