"""What a design amounts to, for the team to read before it opens. Nothing in it tells which system wrote what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Any, NamedTuple

from annotation.designs import clinicians_of, given_of
from annotation.models import JudgingDesign

# Silent reading of English non-fiction (Brysbaert 2019, Journal of Memory and Language 109).
WORDS_A_MINUTE = 238
# Ours: to weigh one criterion and choose.
SECONDS_A_VERDICT = 5


@dataclass(frozen=True)
class Workload:
    """What one clinician is given. `left` of the `pairs` show their first system's response on the left."""

    rater: str
    simulated: bool
    practice: int
    pairs: int
    left: int
    repeats: int
    minutes: float


@dataclass(frozen=True)
class DesignSummary:
    """`raters_a_pair` and `shared_pairs` are the fewest and the most: of raters a pair has, of pairs two raters share;
    None where there are none. `clinicians` are those who were given pairs; before opening, those who would be now.
    `recurrence` says what comes again for a clinician; empty where nothing does."""

    strata: list[tuple[str, int, int]]
    prompts: int
    pairs: int
    practice: int
    workloads: list[Workload]
    raters_a_pair: tuple[int, int] | None
    shared_pairs: tuple[int, int] | None
    minutes: float
    newcomers: list[str]
    clinicians: int
    recurrence: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Sight(NamedTuple):
    """An assignment, as far as it counts here."""

    rater: int
    name: str
    simulated: bool
    pair: int
    presentation: int
    a_on_left: bool


FIELDS = ("rater", "rater__name", "rater__simulated", "comparison", "presentation", "a_on_left")


def summarise_design(design: JudgingDesign) -> DesignSummary:
    """The design as it stands, in a number of queries that does not depend on its size."""
    minutes = minutes_by_pair(design)
    prompt_of = dict(design.comparisons.filter(calibration=False).values_list("pk", "response_a__prompt"))
    real = set(prompt_of)
    sessions = sessions_of(design)
    judged = {rater: {sight.pair for sight in session} & real for rater, session in sessions.items()}
    present = clinicians_of(design.study)
    # Until anybody is given pairs, what all would judge.
    given = list(judged.values()) or ([] if design.raters_per_pair else [real])
    of_one_prompt = (n for pairs in given for n in Counter(prompt_of[pair] for pair in pairs).values())
    return DesignSummary(
        strata=[(stratum, there, drawn) for stratum, (there, drawn) in sorted(design.strata.items())],
        prompts=design.prompts,
        pairs=len(real),
        practice=len(minutes) - len(real),
        workloads=[workload(session, real, minutes) for session in sessions.values()],
        raters_a_pair=extremes([sum(pair in pairs for pairs in judged.values()) for pair in real] if judged else []),
        shared_pairs=extremes([len(first & second) for first, second in combinations(judged.values(), 2)]),
        minutes=median(minutes[pair] for pair in real),
        newcomers=[rater.name for rater in present if rater.pk not in sessions],
        clinicians=len(sessions if design.opened_at else present),
        recurrence=recurrence(design, max(of_one_prompt, default=0)),
    )


def recurrence(design: JudgingDesign, most: int) -> str:
    """What comes again where a clinician judges `most` pairs of one prompt; empty where nothing does."""
    if most < 2:
        return ""
    told = "is known to be the baseline's" if design.baseline_id else "tells which pairs have a system in common"
    return (
        f"A clinician judges up to {most} pairs of one prompt, so responses come again, and one that does {told}: no "
        "order avoids that, only so few clinicians a pair that the pairs of a prompt go to different clinicians."
    )


def minutes_by_pair(design: JudgingDesign) -> dict[int, float]:
    """{comparison id: minutes that reading and judging it may take}"""
    judging = design.study.criteria.filter(judged=True).count() * SECONDS_A_VERDICT / 60
    texts = design.comparisons.values_list("pk", "response_a__prompt__text", "response_a__text", "response_b__text")
    return {pair: sum(len(text.split()) for text in read) / WORDS_A_MINUTE + judging for pair, *read in texts}


def sessions_of(design: JudgingDesign) -> dict[int, list[Sight]]:
    """{rater id: what a clinician is given}"""
    sessions: dict[int, list[Sight]] = {}
    for row in given_of(design).order_by("rater", "position").values_list(*FIELDS):
        sessions.setdefault(row[0], []).append(Sight(*row))
    return sessions


def workload(session: Sequence[Sight], real: set[int], minutes: Mapping[int, float]) -> Workload:
    firsts = [sight for sight in session if sight.presentation == 1 and sight.pair in real]
    return Workload(
        rater=session[0].name,
        simulated=session[0].simulated,
        practice=sum(sight.pair not in real for sight in session),
        pairs=len(firsts),
        left=sum(sight.a_on_left for sight in firsts),
        repeats=sum(sight.presentation == 2 for sight in session),
        minutes=sum(minutes[sight.pair] for sight in session),
    )


def extremes(numbers: Sequence[int]) -> tuple[int, int] | None:
    return (min(numbers), max(numbers)) if numbers else None
