"""The report's page of confusion: which labels are taken for which, as counts. Only once the study is unblinded, for
the margins of such a table tell who won."""

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd

from evaluation.charts import Chart, Confusion, Panel
from evaluation.report_raters import RaterRow
from evaluation.report_source import ORDER, Source
from evaluation.report_tables import Section, Table

# As many small tables as can be read beside one another.
PANELS = 21
UNIT = ["item", "criterion"]
LABELS = ORDER[::-1]


def sections(source: Source) -> tuple[Section, ...]:
    if source.people.empty:
        return (Section("Confusion", empty="No clinician submitted a verdict."),)
    return (*judge_sections(source), rater_section(source))


def judge_sections(source: Source) -> Iterable[Section]:
    """Each judge against the majority of the clinicians, by criterion."""
    parts = source.sections_of(source.agreement) if source.agreement else []
    for judge in source.judges:
        own = [(name, part["judges"][judge.name]) for name, part in parts if judge.name in part["judges"]]
        panels = [majority_panel(name, found["confusion_with_majority"]) for name, found in own]
        title = f"{judge.display} against the majority"
        if not panels:
            yield Section(title, empty="It judged nothing that clinicians judged.")
            continue
        yield section(
            source,
            title,
            f"confusion-{judge.pk}",
            [*source.clinicians, judge],
            panels,
            ("Majority of clinicians", judge.name),
            f"Majority of the clinicians (rows) and {judge.name} (columns), without level votes",
        )


def majority_panel(title: str, judged: list[list[int]]) -> Panel:
    """The majority in rows and the judge in columns, best for A first, of a table the other way about."""
    turned = zip(*(row[::-1] for row in judged[::-1]), strict=True)
    return Panel(title, tuple(tuple(row) for row in turned))


def rater_section(source: Source) -> Section:
    """Each clinician against each other, all criteria pooled; where they are many, against all the others."""
    table = source.people.pivot_table(index=UNIT, columns="rater", values="label", aggfunc="first", sort=False)
    names = [row.name for row in source.clinicians if row.name in table]
    pairs = [panel(f"{a}, {b}", table[a], table[b]) for a, b in combinations(names, 2)]
    drawn, axes = pairs, ("First named", "Second named")
    words = "Each pair of clinicians, all criteria pooled"
    if len(pairs) > PANELS:
        drawn = [against_others(table, name, names) for name in names]
        axes, words = (
            ("The clinician", "Each of the others"),
            "Each clinician and each of the others, all criteria pooled",
        )
    if not pairs:
        return Section("Clinician against clinician", empty="It takes two clinicians.")
    found = section(source, "Clinician against clinician", "confusion-raters", source.clinicians, drawn, axes, words)
    every = count_table(source, "confusion-pairs", "Pair", "Each pair of clinicians, pooled", source.clinicians, pairs)
    return Section(found.title, charts=found.charts, tables=(every,), note=found.note)


def against_others(table: pd.DataFrame, name: str, names: list[str]) -> Panel:
    others = [other for other in names if other != name]
    own = pd.concat([table[name]] * len(others), ignore_index=True)
    return panel(name, own, pd.concat([table[other] for other in others], ignore_index=True))


def panel(title: str, down: "pd.Series[str]", across: "pd.Series[str]") -> Panel:
    """The counts of label pairs where both are there."""
    index = pd.Index(LABELS)
    rows, columns = index.get_indexer(pd.Index(down)), index.get_indexer(pd.Index(across))
    both = (rows >= 0) & (columns >= 0)
    size = len(LABELS)
    counts = np.bincount(rows[both] * size + columns[both], minlength=size**2).reshape(size, size)
    return Panel(title, tuple(tuple(int(count) for count in row) for row in counts))


def section(
    source: Source, title: str, name: str, who: list[RaterRow], panels: list[Panel], axes: tuple[str, str], words: str
) -> Section:
    note = "\n".join(part for part in (f"{words}. {legend(source)}", source.note(who)) if part)
    data = Confusion(LABELS, *axes, tuple(panels), note)
    alt = "; ".join(f"{one.title}: {agreeing(one)} of {one.total} alike" for one in panels)
    return Section(
        title,
        charts=(Chart(name, source.caption(f"{words}. {legend(source)}", who), alt, data),),
        tables=(count_table(source, f"{name}-counts", "Criterion", words, who, panels),),
    )


def legend(source: Source) -> str:
    """Which systems A and B are."""
    pairs = source.people[["system_a", "system_b"]].drop_duplicates().itertuples(index=False)
    return "; ".join(f"A: {pair.system_a}, B: {pair.system_b}" for pair in pairs)


def agreeing(one: Panel) -> int:
    return sum(one.counts[index][index] for index in range(len(one.counts)))


def count_table(source: Source, name: str, what: str, words: str, who: list[RaterRow], panels: list[Panel]) -> Table:
    columns = tuple(f"{down}, {across}" for down in LABELS for across in LABELS)
    return Table(
        name,
        source.caption(f"{words}. {legend(source)}", who),
        (what, *columns, "n"),
        tuple((one.title, *(count for row in one.counts for count in row), one.total) for one in panels),
    )
