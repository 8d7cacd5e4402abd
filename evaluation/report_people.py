"""The report's pages of raters: a list, and each by themselves. Nothing here tells systems apart."""

from typing import Any

import pandas as pd

from evaluation.charts import Chart, Dots, Drift
from evaluation.intra_rater import intra_rater
from evaluation.labels import judge_checks
from evaluation.rater_profiles import Profile, profiles
from evaluation.ratings import HUMAN
from evaluation.report_raters import RaterRow
from evaluation.report_source import DRAWS, POOLED, SEED, Source
from evaluation.report_tables import Section, Table
from evaluation.statistics import Statistic

HOW = (
    "Agreement with the rest: mean share of the other clinicians who gave the same label. Left: among the verdicts "
    "that chose a side, either order of the systems counting half; 0.50 is no bias. Intervals: 95 %, bootstrap over "
    "prompts; of the median, by order statistics."
)
COLUMNS = ("Median seconds", "Agreement with the rest", "Ties", "Cannot judge", "Left")
AGAIN = {
    "percent_agreement": "Same again",
    "percent_agreement_without_ties": "Without ties",
    "cohen_kappa": "Cohen's kappa",
    "gwet_ac1": "Gwet AC1",
}
NOBODY = "No clinician has submitted a verdict yet."


def profiles_of(source: Source) -> dict[str, Profile]:
    """{clinician: profile}; their agreement is with the raters of the selection."""
    people = source.verdicts[source.verdicts["rater_kind"] == HUMAN]
    return source.kept("profiles", lambda: profiles(people, draws=DRAWS, seed=SEED))


def sections(source: Source) -> tuple[Section, ...]:
    found = profiles_of(source)
    others = source.agreement["pooled"]["leave_one_out"]["raters"] if source.agreement else {}
    rows = [row for row in source.clinicians if row.name in found]
    table = Table(
        "raters",
        source.caption("How each clinician judged", source.clinicians),
        ("Clinician", *COLUMNS, "With majority of the others"),
        tuple((row.display, *cells(found[row.name]), statistic_of(others.get(row.name))) for row in rows),
        tuple(f"../rater-{row.pk}/" for row in rows),
    )
    clinicians = Section("Clinicians", tables=(table,) if rows else (), note=HOW, empty=NOBODY)
    return (clinicians, *([within_section(source)] if rows else []))


def within_section(source: Source) -> Section:
    """How far clinicians agree with themselves on the pairs that they saw twice."""
    found: dict[str, Any] = source.kept("intra-rater", lambda: intra_rater(seen(source), draws=DRAWS, seed=SEED))
    if not found["pooled"]["percent_agreement"].n:
        return Section("Within clinicians", empty="No clinician has seen a pair twice.")
    names = {row.name: row.display for row in source.clinicians}
    tables = (
        within_table(source, "raters", "Clinician", {names[name]: own for name, own in found["raters"].items()}),
        within_table(
            source,
            "criteria",
            "Criterion",
            {name: found["criteria"][key] for key, name in source.criteria.items() if key in found["criteria"]}
            | {POOLED: found["pooled"]},
        ),
    )
    return Section("Within clinicians", tables=tables, note="First and second look at the same pair, in system order.")


def within_table(source: Source, name: str, what: str, found: dict[str, Any]) -> Table:
    return Table(
        f"within-{name}",
        source.caption(f"Agreement of clinicians with themselves, by {what.lower()}", source.clinicians),
        (what, *AGAIN.values()),
        tuple((title, *(own.get(key) for key in AGAIN)) for title, own in found.items()),
    )


def seen(source: Source) -> pd.DataFrame:
    """The verdicts of clinicians that have a label."""
    frame = source.verdicts
    return frame[(frame["rater_kind"] == HUMAN) & frame["label"].notna()]


def statistic_of(found: dict[str, Any] | None) -> Statistic | None:
    return Statistic(**found) if found else None


def cells(profile: Profile) -> tuple[Statistic, ...]:
    return (profile.seconds, profile.rest, profile.ties, profile.cannot, profile.left)


def rater_sections(source: Source, rater: RaterRow) -> tuple[Section, ...]:
    profile = profiles_of(source).get(rater.name)
    if profile is None:
        return (Section(rater.display, empty=NOBODY),)
    stretches = tuple((f"{part.first}–{part.last}", part.agreement, part.seconds) for part in profile.stretches)
    words = f"{rater.name} over the session, in stretches of pairs in the order judged; lines: 95 %"
    note = source.note([rater])
    alt = "; ".join(f"pairs {name}: agreement {share}, {seconds} seconds" for name, share, seconds in stretches)
    data = Drift(stretches, "\n".join(part for part in (words, note) if part))
    own = Table(
        "profile",
        source.caption(f"How {rater.name} judged", [rater]),
        ("Measure", rater.name),
        tuple(zip(COLUMNS, cells(profile), strict=True)),
    )
    drift = Table(
        "drift",
        source.caption(words, [rater]),
        ("Pairs", "Agreement with the rest", "Median seconds"),
        stretches,
    )
    return (
        Section(f"{rater.display} at a glance", tables=(own,), note=HOW),
        Section(
            "Over the session", charts=(Chart("drift", source.caption(words, [rater]), alt, data),), tables=(drift,)
        ),
    )


def position_sections(source: Source) -> tuple[Section, ...]:
    """Share of left, of clinicians and judges, and what judges say once the sides are swapped."""
    found = profiles_of(source)
    checks = source.kept(
        "judge-checks", lambda: judge_checks(source.verdicts.dropna(subset="label"), draws=DRAWS, seed=SEED)
    )
    lefts = {row.name: (row.display, found[row.name].left) for row in source.clinicians if row.name in found} | {
        row.name: (row.display, checks[row.name].position_bias) for row in source.judges if row.name in checks
    }
    if not lefts:
        return (Section("Position bias", empty=NOBODY),)
    words = (
        "Share of left among the verdicts that chose a side, either order of the systems counting half; the line at "
        "50 % is no bias; lines: 95 %"
    )
    chart = Chart(
        "position",
        source.caption(words),
        "; ".join(f"{display} {left}" for display, left in lefts.values()),
        Dots(
            "Share of left", ("Share of left",), tuple((name, (left,)) for name, left in lefts.values()),
            "\n".join(part for part in (words, source.note()) if part), reference=0.5,
        ),
    )  # fmt: skip
    swapped = Table(
        "swap-consistency",
        source.caption("Judges once the sides are swapped: another winner counts as a tie", source.judges),
        ("Judge", "Share of left", "Same winner", "Another winner"),
        tuple(
            (
                row.display,
                checks[row.name].position_bias,
                checks[row.name].swap_consistency,
                checks[row.name].inconsistent,
            )
            for row in source.judges
            if row.name in checks
        ),
    )
    left = Table("left", source.caption(words), ("Rater", "Share of left"), tuple(lefts.values()))
    return (
        Section("Share of left", charts=(chart,), tables=(left,)),
        *([Section("Judges, swapped", tables=(swapped,))] if swapped.rows else []),
    )
