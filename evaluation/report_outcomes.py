"""The report's page of outcomes, once the study is unblinded: who won how often, before clinicians and judges."""

from collections.abc import Iterable, Sequence

import pandas as pd

from evaluation.bradley_terry import bradley_terry
from evaluation.charts import Bars, Chart
from evaluation.corrections import holm
from evaluation.ratings import HUMAN
from evaluation.report_raters import RaterRow
from evaluation.report_source import DRAWS, SEED, Source
from evaluation.report_tables import PValue, Section, Table
from evaluation.win_rates import PairOutcome, majorities, pair_outcomes, verdict_outcomes, win_rates

EVERY = (
    "Every verdict counts alike. Intervals: 95 %, bootstrap over prompts, Wilson where all prompts fall alike. "
    "Majorities: Wilson intervals; level votes are ties. McNemar's test (exact, two-sided) holds majorities for one "
    "system against those for the other and leaves ties out; Holm's correction is over the criteria of the table."
)
RATES = (
    "Wins over the prompts compared, averaged over opponents; a tie is no win. Intervals: 95 %, bootstrap over "
    "prompts, Wilson where all prompts fall alike."
)


STRENGTHS = (
    "Log strengths, their mean being 0: exp of a difference is the odds of a win over a loss. Davidson's extension of "
    "Bradley and Terry's model to ties, every verdict a comparison. Intervals: 95 %, bootstrap over prompts."
)


def sections(source: Source) -> tuple[Section, ...]:
    return (*pair_sections(source), rates_section(source), *strength_sections(source))


def pair_sections(source: Source) -> Iterable[Section]:
    people = source.people
    if people.empty:
        yield Section("Outcomes before the clinicians", empty="No clinician submitted a verdict.")
        return
    decided = {(o.system_a, o.system_b, o.criterion): o for o in pair_outcomes(majorities(people))}
    found = {(o.system_a, o.system_b, o.criterion): o for o in verdict_outcomes(people, draws=DRAWS, seed=SEED)}
    for number, (a, b) in enumerate(dict.fromkeys((a, b) for a, b, _ in found), start=1):
        keys = [key for key in source.criteria if (a, b, key) in found]
        every = [(source.criteria[key], found[a, b, key]) for key in keys]
        majority = [(source.criteria[key], decided[a, b, key]) for key in keys]
        own = people[(people["system_a"] == a) & (people["system_b"] == b)]
        yield Section(
            f"{a} and {b}",
            charts=(outcome_chart(source, f"outcomes-{number}", every, own["rater"].nunique()),),
            tables=(every_table(source, number, every), majority_table(source, number, majority)),
            note=EVERY,
        )


def outcome_chart(source: Source, name: str, rows: Sequence[tuple[str, PairOutcome]], raters: int) -> Chart:
    first = rows[0][1]
    verdicts, prompts = spread(every.wins.n for _, every in rows), spread(every.prompts for _, every in rows)
    words = (
        f"n = {verdicts} verdicts a criterion on {prompts} prompts by {raters} clinicians; "
        "whiskers: 95 %, bootstrap over prompts"
    )
    note = source.note(source.clinicians)
    data = Bars(
        first.system_a,
        first.system_b,
        tuple((row, every.wins, every.ties, every.losses) for row, every in rows),
        "\n".join(part for part in (words, note) if part),
    )
    alt = "; ".join(
        f"{row}: {first.system_a} better {wins}, tie {ties}, {first.system_b} better {losses}"
        for row, wins, ties, losses in data.rows
    )
    title = f"{first.system_a} and {first.system_b} before the clinicians. {words}"
    return Chart(name, source.caption(title, source.clinicians), alt, data)


def spread(counts: Iterable[int]) -> str:
    low, high = min(found := list(counts)), max(found)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def every_table(source: Source, number: int, rows: Sequence[tuple[str, PairOutcome]]) -> Table:
    first = rows[0][1]
    return Table(
        f"verdicts-{number}",
        source.caption(f"Verdicts of clinicians on {first.system_a} and {first.system_b}", source.clinicians),
        ("Criterion", f"{first.system_a} better", "Tie", f"{first.system_b} better"),
        tuple((name, found.wins, found.ties, found.losses) for name, found in rows),
    )


def majority_table(source: Source, number: int, rows: Sequence[tuple[str, PairOutcome]]) -> Table:
    first = rows[0][1]
    plain = [found.mcnemar_p for _, found in rows]
    return Table(
        f"majorities-{number}",
        source.caption(
            f"Majorities of clinicians on each prompt, {first.system_a} and {first.system_b}", source.clinicians
        ),
        ("Criterion", f"{first.system_a} better", "Tie", f"{first.system_b} better", "McNemar p, exact", "p, Holm"),
        tuple(
            (name, found.wins, found.ties, found.losses, p_of(p), p_of(corrected))
            for (name, found), p, corrected in zip(rows, plain, holm(plain), strict=True)
        ),
    )


def p_of(p: float | None) -> PValue | None:
    return None if p is None else PValue(p)


def rates_section(source: Source) -> Section:
    tables = [
        rate_table(source, name, title, who, majorities(rows)) for name, title, who, rows in votes(source) if len(rows)
    ]
    return Section("Win rates", tables=tuple(tables), note=RATES, empty="Nothing has been compared.")


def strength_sections(source: Source) -> Iterable[Section]:
    """Only where three systems or more met: of two, the shares say all there is."""
    tables = [
        strength_table(source, name, title, who, rows)
        for name, title, who, rows in votes(source)
        if len({*rows["system_a"], *rows["system_b"]}) > 2
    ]
    if tables:
        yield Section("Strengths", tables=tuple(tables), note=STRENGTHS)


def strength_table(source: Source, name: str, title: str, who: list[RaterRow], rows: pd.DataFrame) -> Table:
    found = bradley_terry(rows, draws=DRAWS, seed=SEED)
    keys = [key for key in source.criteria if key in found]
    systems = list(dict.fromkeys(system for key in keys for system in found[key].systems))
    return Table(
        f"strengths-{name}",
        source.caption(f"Log strengths of systems by Bradley-Terry with ties: {title}", who),
        ("System", *(source.criteria[key] for key in keys)),
        (
            *((system, *(found[key].systems.get(system) for key in keys)) for system in systems),
            ("Chance of a tie between equals", *(found[key].ties for key in keys)),
        ),
    )


def votes(source: Source) -> Iterable[tuple[str, str, list[RaterRow], pd.DataFrame]]:
    """(name, title, raters, labels) of the clinicians together, and of each judge."""
    yield "clinicians", "Clinicians", source.clinicians, source.people
    judged = source.labels[source.labels["rater_kind"] != HUMAN]
    for judge in source.judges:
        yield f"judge-{judge.pk}", judge.display, [judge], judged[judged["rater"] == judge.name]


def rate_table(source: Source, name: str, title: str, who: list[RaterRow], rows: pd.DataFrame) -> Table:
    rates = win_rates(rows, draws=DRAWS, seed=SEED)
    keys = [key for key in source.criteria if (rows["criterion"] == key).any()]
    return Table(
        f"win-rates-{name}",
        source.caption(f"Win rates by majorities: {title}", who),
        ("System", *(source.criteria[key] for key in keys)),
        tuple((system, *(by.get(key) for key in keys)) for system, by in rates.items()),
    )
