"""The report's page of agreement: among clinicians, of each judge beside them, and the alternative annotator test."""

from collections.abc import Iterable
from typing import Any

from evaluation.alternative_annotator import ALPHA, ITEMS_NEEDED, PASS
from evaluation.charts import Chart, Dots
from evaluation.report_raters import RaterRow
from evaluation.report_source import EPSILON, Source
from evaluation.report_tables import Cell, PValue, Section, Table
from evaluation.statistics import Statistic, undefined

AMONG = {
    "percent_agreement": "Percent agreement",
    "percent_agreement_without_ties": "Without ties",
    "krippendorff_alpha": "Krippendorff alpha",
    "gwet_ac1": "Gwet AC1",
    "fleiss_kappa": "Fleiss kappa",
}
HOW = (
    "Labels are in system order, whatever side a response was shown on. Intervals: 95 %, percentiles of a bootstrap "
    "over comparisons, 2,000 resamples, seed 0; pooled, a comparison is drawn with all its criteria."
)
NOBODY = "No clinician has submitted a verdict yet."


def sections(source: Source) -> tuple[Section, ...]:
    found = source.agreement
    if found is None:
        return (Section("Agreement", empty=NOBODY),)
    return (
        Section(
            "By criterion", charts=(agreement_chart(source, found),), tables=(among_table(source, found),), note=HOW
        ),
        *(judge_section(source, found, judge) for judge in source.judges),
        kappa_section(source, found),
    )


def agreement_chart(source: Source, found: dict[str, Any]) -> Chart:
    nominal = found["nominal"]
    pooled = nominal["pooled"]
    judges = [judge for judge in source.judges if judge.name in pooled["judges"]]
    note = source.note()
    words = (
        f"n = {pooled['items']} comparisons by criterion, {pooled['ratings']} ratings by {pooled['raters']} "
        "clinicians; lines: 95 %, bootstrap over comparisons"
    )
    data = Dots(
        axis="Share of agreeing labels (A, tie or B)",
        series=("Clinician with clinician", *(f"{judge.display} with clinician" for judge in judges)),
        rows=tuple(
            (name, (Statistic(**part["percent_agreement"]), *(with_raters(part, judge) for judge in judges)))
            for name, part in source.sections_of(nominal)
        ),
        note="\n".join(part for part in (words, note) if part),
    )
    alt = "; ".join(
        f"{name}: " + ", ".join(f"{series} {value}" for series, value in zip(data.series, values, strict=True))
        for name, values in data.rows
    )
    return Chart("agreement", source.caption(f"Agreement by criterion. {words}"), alt, data)


def with_raters(part: dict[str, Any], judge: RaterRow) -> Statistic:
    own = part["judges"].get(judge.name)
    return Statistic(**own["agreement_with_raters"]) if own else undefined("it did not judge this criterion")


def among_table(source: Source, found: dict[str, Any]) -> Table:
    ordinal = dict(source.sections_of(found["ordinal"]))
    return Table(
        "among-clinicians",
        source.caption("Agreement of clinicians with one another", source.clinicians),
        ("Criterion", "Comparisons", "Raters", "Ratings", *AMONG.values(), "Alpha, B < tie < A"),
        tuple(
            (
                name,
                part["items"],
                part["raters"],
                part["ratings"],
                # Where nobody gave a tie, agreement without ties is agreement.
                *(Statistic(**part.get(key, part["percent_agreement"])) for key in AMONG),
                Statistic(**ordinal[name]["krippendorff_alpha"]),
            )
            for name, part in source.sections_of(found["nominal"])
        ),
    )


def judge_section(source: Source, found: dict[str, Any], judge: RaterRow) -> Section:
    parts = [
        (name, part["judges"][judge.name])
        for name, part in source.sections_of(found["nominal"])
        if judge.name in part["judges"]
    ]
    title = f"{judge.display} beside the clinicians"
    if not parts:
        return Section(title, empty="It judged nothing that clinicians judged.")
    among = dict(source.sections_of(found["nominal"]))
    who = [*source.clinicians, judge]
    beside = Table(
        f"beside-{judge.pk}",
        source.caption(f"{judge.name} beside clinicians; comparisons without a majority are left out of it", who),
        (
            "Criterion",
            "Judge with clinician",
            "Clinician with clinician",
            "Judge with majority",
            "No majority",
            "Judge with majority of the others",
            "Clinician with majority of the others",
        ),
        tuple(
            (
                name,
                Statistic(**own["agreement_with_raters"]),
                Statistic(**among[name]["percent_agreement"]),
                Statistic(**own["agreement_with_majority"]),
                own["majority_ties_excluded"],
                Statistic(**own["leave_one_out"]["judge"]),
                Statistic(**own["leave_one_out"]["raters"]),
            )
            for name, own in parts
        ),
    )
    pooled = parts[-1][1]["alt_test"]
    return Section(
        title,
        sentences=tuple(test_sentences(judge.name, [(name, own["alt_test"]) for name, own in parts])),
        tables=(beside, test_table(source, who, judge, parts), raters_table(source, who, judge, pooled)),
        note=(
            "Alternative annotator test (Calderon, Reichart, Dror 2025): for each clinician with at least "
            f"{ITEMS_NEEDED} comparisons shared with the judge and another clinician, a one-sided t-test over "
            f"comparisons that the judge matches the others at most epsilon = {EPSILON:g} less often; "
            f"Benjamini-Yekutieli over clinicians at {ALPHA:g}; passed where the winning rate is at least {PASS:g}."
        ),
    )


def test_sentences(judge: str, tests: list[tuple[str, dict[str, Any]]]) -> Iterable[str]:
    """What the test says of a judge: of all criteria pooled, the last of the tests, then by criterion."""
    *single, (_, pooled) = tests
    yield pooled_sentence(judge, pooled)
    outcomes = {
        "passes on": [name for name, test in single if test["passes"]],
        "fails on": [name for name, test in single if test["passes"] is False],
        "cannot be tested on": [name for name, test in single if test["passes"] is None],
    }
    said = "; ".join(f"{words} {', '.join(names)}" for words, names in outcomes.items() if names)
    if said:
        yield f"By criterion it {said}. The test of one criterion is not corrected for the number of criteria."


def pooled_sentence(judge: str, test: dict[str, Any]) -> str:
    rate = Statistic(**test["winning_rate"])
    if rate.value is None:
        return f"Whether {judge} may stand in for a clinician cannot be tested: {rate.reason}."
    verdict = "may" if test["passes"] else "may not"
    won = round(rate.value * rate.n)
    advantage = Statistic(**test["advantage_probability"])
    return (
        f"By the alternative annotator test {judge} {verdict} stand in for a clinician, all criteria pooled: it holds "
        f"its own against {won} of {rate.n} clinicians (winning rate {rate.value:.2f}, {PASS:g} passes) where "
        f"replacing one may cost epsilon = {test['epsilon']:g}, after Benjamini-Yekutieli; it does at least as well as "
        f"a clinician with probability {advantage}."
    )


def test_table(source: Source, who: list[RaterRow], judge: RaterRow, parts: list[tuple[str, dict[str, Any]]]) -> Table:
    return Table(
        f"alternative-test-{judge.pk}",
        source.caption(
            f"Alternative annotator test of {judge.name}, epsilon = {EPSILON:g}; n of the rate: clinicians", who
        ),
        ("Criterion", "Verdict", "Winning rate", "Advantage probability"),
        tuple(
            (
                name,
                {True: "passes", False: "fails", None: "undefined"}[own["alt_test"]["passes"]],
                Statistic(**own["alt_test"]["winning_rate"]),
                Statistic(**own["alt_test"]["advantage_probability"]),
            )
            for name, own in parts
        ),
    )


def raters_table(source: Source, who: list[RaterRow], judge: RaterRow, pooled: dict[str, Any]) -> Table:
    return Table(
        f"alternative-raters-{judge.pk}",
        source.caption(f"{judge.name} against each clinician, all criteria pooled, epsilon = {EPSILON:g}", who),
        ("Clinician", "Comparisons", "Judge at least as good", "Clinician at least as good", "p", "Judge may replace"),
        tuple((name, *rater_cells(row)) for name, row in pooled["raters"].items()),
    )


def rater_cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    share = [None if row[key] is None else f"{row[key]:.2f}" for key in ("rho_judge", "rho_rater")]
    tested = row["p"] is not None
    return (
        row["n"],
        *share,
        PValue(row["p"]) if tested else None,
        {True: "yes", False: "no", None: f"not tested: {row.get('reason', 'no p')}"}[row["rejected"]],
    )


def kappa_section(source: Source, found: dict[str, Any]) -> Section:
    parts = source.sections_of(found["nominal"])
    pairs = list(parts[-1][1]["cohen_kappa"])
    table = Table(
        "cohen-kappa",
        source.caption("Cohen's kappa of each pair of clinicians", source.clinicians),
        ("Pair", *(name for name, _ in parts)),
        tuple(
            (pair.replace("|", " and "), *(kappa_of(part["cohen_kappa"].get(pair)) for _, part in parts))
            for pair in pairs
        ),
    )
    return Section("Pairs of clinicians", tables=(table,) if pairs else (), empty="It takes two clinicians.")


def kappa_of(found: dict[str, Any] | None) -> Statistic | None:
    return Statistic(**found) if found else None
