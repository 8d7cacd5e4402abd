"""A design as the terminal shows it."""

from collections.abc import Iterator, Sequence
from typing import Any

from annotation.blinding_check import BlindingCheck
from annotation.design_summary import SECONDS_A_VERDICT, WORDS_A_MINUTE, DesignSummary, Workload
from annotation.models import JudgingDesign
from evaluation.design_precision import Expectation
from evaluation.tables import grid


def design_text(
    design: JudgingDesign, summary: DesignSummary, expected: Sequence[Expectation], telltales: BlindingCheck
) -> str:
    strata = grid(["stratum", "to draw from", "drawn"], [[name, str(n), str(k)] for name, n, k in summary.strata])
    given = "\n".join(workload_lines(summary))
    return "\n\n".join([headline(design, summary), strata, given, opening_text(summary, expected, telltales)])


def opening_text(summary: DesignSummary, expected: Sequence[Expectation], telltales: BlindingCheck) -> str:
    """What to read before a design opens: its precision, and what may tell who wrote a response."""
    return "\n\n".join(map("\n".join, (precision_lines(expected), telltale_lines(summary, telltales))))


def headline(design: JudgingDesign, summary: DesignSummary) -> str:
    against = f" against {design.baseline}" if design.baseline else ""
    return (
        f"Design {design} of study {design.study.slug}: {design.prompts} prompts, {summary.pairs} pairs of "
        f"{', '.join(system.name for system in design.systems.all())}{against}, {summary.practice} to practise on, "
        f"seed {design.seed}"
    )


def workload_lines(summary: DesignSummary) -> Iterator[str]:
    if not summary.workloads:
        yield f"Not given to clinicians yet; a pair takes about {summary.minutes:.1f} minutes."
    else:
        header = ["clinician", "practice", "pairs", "repeated", "first system left", "minutes, about"]
        yield grid(header, [workload_row(workload) for workload in summary.workloads])
    if summary.raters_a_pair:
        yield f"Clinicians a pair: {between(summary.raters_a_pair)}."
    if summary.shared_pairs:
        yield f"Pairs that two clinicians share: {between(summary.shared_pairs)}."
    yield f"Minutes: {WORDS_A_MINUTE} words a minute (Brysbaert 2019) and {SECONDS_A_VERDICT} seconds a verdict."


def workload_row(workload: Workload) -> list[str]:
    name = f"{workload.rater} (simulated)" if workload.simulated else workload.rater
    numbers = (workload.practice, workload.pairs, workload.repeats, workload.left)
    return [name, *map(str, numbers), f"{workload.minutes:.0f}"]


def precision_lines(expected: Sequence[Expectation]) -> Iterator[str]:
    chosen = expected[0].precision
    yield f"To expect of a pair of systems with {chosen.raters} clinicians in all, 95 % of {chosen.studies:,} simulated"
    yield f"studies each. Assumed: {chosen.assumptions}."
    header = ["", "prompts", "a pair", "win rate", "percent agreement", "Krippendorff alpha", "McNemar finds it"]
    yield grid(header, [precision_row(row) for row in expected])


def precision_row(row: Expectation) -> list[str]:
    precision = row.precision
    statistics = (precision.win_rate, precision.percent_agreement, precision.krippendorff_alpha)
    size = ("->" if row.chosen else "", str(precision.items), str(precision.per_item))
    return [*size, *(str(statistic) for statistic in statistics), f"{precision.power:.0%}"]


def telltale_lines(summary: DesignSummary, telltales: BlindingCheck) -> Iterator[str]:
    if summary.recurrence:
        yield summary.recurrence
    yield f"Responses that say who or what wrote them: {len(telltales.telling)} of {telltales.responses}."
    if telltales.telling:
        yield grid(["kind", "phrase", "responses"], [[kind, phrase, str(n)] for kind, phrase, n in telltales.phrases])
    if telltales.habits:
        yield "Habits, and how often each alone tells two systems apart (50 % is chance):"
    yield from (f"{guesses:5.0%}  {habit}" for guesses, habit in telltales.habits)


def between(extremes: tuple[int, int]) -> str:
    fewest, most = extremes
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def design_json(
    design: JudgingDesign, summary: DesignSummary, expected: Sequence[Expectation], telltales: BlindingCheck
) -> dict[str, Any]:
    return {
        "design": {
            "study": design.study.slug,
            "name": design.name,
            "systems": [system.name for system in design.systems.all()],
            "baseline": design.baseline and design.baseline.name,
            "prompts": design.prompts,
            "raters_per_pair": design.raters_per_pair,
            "repeated_pairs": design.repeated_pairs,
            "seed": design.seed,
        },
        "summary": summary.as_dict(),
        "precision": [{**row.precision.as_dict(), "chosen": row.chosen} for row in expected],
        "telltales": telltales.as_dict(),
    }
