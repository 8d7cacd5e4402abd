"""What a design amounts to, for the team to read before it opens. Nothing in it tells which system wrote what."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Any

from annotation.designs import clinicians_of
from annotation.models import Assignment, Comparison, JudgingDesign, RaterKind

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
    None where there are none."""

    strata: list[tuple[str, int, int]]
    prompts: int
    pairs: int
    practice: int
    workloads: list[Workload]
    raters_a_pair: tuple[int, int] | None
    shared_pairs: tuple[int, int] | None
    minutes: float
    newcomers: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise_design(design: JudgingDesign) -> DesignSummary:
    """The design as it stands, in a number of queries that does not depend on its size."""
    comparisons = list(
        design.comparisons.select_related("response_a__prompt", "response_b").order_by("-calibration", "pk")
    )
    criteria = design.study.criteria.filter(judged=True).count()
    minutes = {pair.pk: minutes_of(pair, criteria) for pair in comparisons}
    given = (
        Assignment.objects.filter(comparison__design=design, rater__kind=RaterKind.CLINICIAN)
        .select_related("rater")
        .order_by("rater", "position")
    )
    sessions: dict[int, list[Assignment]] = {}
    for assignment in given:
        sessions.setdefault(assignment.rater_id, []).append(assignment)
    real = {pair.pk for pair in comparisons if not pair.calibration}
    judged = {rater: {a.comparison_id for a in session} & real for rater, session in sessions.items()}
    return DesignSummary(
        strata=[(stratum, there, drawn) for stratum, (there, drawn) in sorted(design.strata.items())],
        prompts=design.prompts,
        pairs=len(real),
        practice=len(comparisons) - len(real),
        workloads=[workload(session, real, minutes) for session in sessions.values()],
        raters_a_pair=extremes([sum(pair in pairs for pairs in judged.values()) for pair in real] if judged else []),
        shared_pairs=extremes([len(first & second) for first, second in combinations(judged.values(), 2)]),
        minutes=median(minutes[pk] for pk in real),
        newcomers=[rater.name for rater in clinicians_of(design.study) if rater.pk not in sessions],
    )


def minutes_of(pair: Comparison, criteria: int) -> float:
    """Minutes that reading and judging the pair may take."""
    texts = (pair.response_a.prompt.text, pair.response_a.text, pair.response_b.text)
    return sum(len(text.split()) for text in texts) / WORDS_A_MINUTE + criteria * SECONDS_A_VERDICT / 60


def workload(session: Sequence[Assignment], real: set[int], minutes: Mapping[int, float]) -> Workload:
    firsts = [a for a in session if a.presentation == 1 and a.comparison_id in real]
    rater = session[0].rater
    return Workload(
        rater=rater.name,
        simulated=rater.simulated,
        practice=sum(a.comparison_id not in real for a in session),
        pairs=len(firsts),
        left=sum(a.a_on_left for a in firsts),
        repeats=sum(a.presentation == 2 for a in session),
        minutes=sum(minutes[a.comparison_id] for a in session),
    )


def extremes(numbers: Sequence[int]) -> tuple[int, int] | None:
    return (min(numbers), max(numbers)) if numbers else None
