"""The report's page of rankings: how far participants agree on the order of responses, whichever systems wrote them."""

import pandas as pd

from evaluation.charts import Chart, Dots
from evaluation.rankings import ranking_agreement
from evaluation.report_source import DRAWS, SEED, Source
from evaluation.report_tables import Section, Table
from evaluation.statistics import Statistic

HOW = (
    "W: Kendall's coefficient of concordance of all who ranked the same responses of a prompt, 1 where all rank alike. "
    "W at random: its mean where as many rank at random; hold W against it. Tau-b: the mean over each two "
    "participants, from -1 to 1, 0 at random. n: the sets of responses that two participants or more ranked, over "
    "which all three are averaged. Prompts of all splits count; drafts, skipped posts, rankings by models and by "
    f"participants who withdrew do not. Intervals: 95 %, percentiles of a bootstrap over prompts, {DRAWS:,} resamples, "
    f"seed {SEED}; they hold for these participants: how far others would differ is not in them."
)
NOBODY = "No participant has submitted a ranking yet."
PART = "A stratum and raters are chosen among verdicts. How participants rank is told of the whole study alone."

# (name, rankings, what `ranking_agreement` says of them) of each criterion.
Parts = list[tuple[str, pd.DataFrame, dict[str, Statistic]]]


def sections(source: Source) -> tuple[Section, ...]:
    if str(source.selection):
        return (Section("Rankings", empty=PART),)
    if source.rankings.empty:
        return (Section("Rankings", empty=NOBODY),)
    ranked = dict(list(source.rankings.groupby("criterion")))
    parts = [
        (name, ranked[key], ranking_agreement(ranked[key], draws=DRAWS, seed=SEED))
        for key, name in source.all_criteria.items()
        if key in ranked
    ]
    return (Section("By criterion", charts=(w_chart(source, parts),), tables=(w_table(source, parts),), note=HOW),)


def caution(source: Source) -> str:
    """What takes from the weight of the rankings."""
    simulated = source.rankings.groupby("rater")["simulated"].first()
    if not simulated.any():
        return ""
    some = "" if simulated.all() else f" ({simulated.sum()} of {len(simulated)})"
    return f"Simulated participants: no person stands behind these rankings{some}"


def caption(source: Source, words: str) -> str:
    return f"{words}. {note}." if (note := caution(source)) else f"{words}."


def w_chart(source: Source, parts: Parts) -> Chart:
    rankings = source.rankings
    words = (
        f"n = {count(rankings):,} rankings by {rankings['rater'].nunique():,} participants, "
        f"{rankings['prompt'].nunique():,} prompts; lines: 95 %, bootstrap over prompts"
    )
    data = Dots(
        axis="Kendall's W, 100 % where all rank alike",
        series=("Participants", "Expected if they ranked at random"),
        rows=tuple((name, (own["kendall_w"], own["chance_w"])) for name, _, own in parts),
        note="\n".join(part for part in (words, caution(source)) if part),
    )
    alt = "; ".join(f"{name}: W {own['kendall_w']}, at random {own['chance_w']}" for name, _, own in parts)
    return Chart("rankings", caption(source, f"Agreement in ranking, by criterion. {words}"), alt, data)


def w_table(source: Source, parts: Parts) -> Table:
    return Table(
        "rankings",
        caption(source, "How far participants agree in ranking the responses of a prompt"),
        ("Criterion", "Prompts", "Participants", "Rankings", "Kendall's W", "W at random", "Mean tau-b"),
        tuple(
            (
                name,
                rows["prompt"].nunique(),
                rows["rater"].nunique(),
                count(rows),
                *(own[key] for key in ("kendall_w", "chance_w", "kendall_tau_b")),
            )
            for name, rows, own in parts
        ),
    )


def count(rows: pd.DataFrame) -> int:
    """Of rankings: a rater ranks a prompt once on a criterion."""
    return len(rows[["criterion", "prompt", "rater"]].drop_duplicates())
