"""The report's page of agreement: among clinicians, of each judge beside them, and the alternative annotator test."""

from collections.abc import Iterable
from typing import Any

from evaluation.alternative_annotator import ALPHA, ITEMS_NEEDED, PASS, in_words
from evaluation.charts import Chart, Dots
from evaluation.report_raters import RaterRow
from evaluation.report_source import DRAWS, EPSILON, ORDER, SEED, Source
from evaluation.report_tables import Cell, PValue, Section, Table
from evaluation.statistics import Statistic, undefined

AMONG = {
    "percent_agreement": "Percent agreement",
    "percent_agreement_without_ties": "Without ties",
    "krippendorff_alpha_nominal": "Krippendorff alpha",
    "krippendorff_alpha_ordinal": "Alpha, B < tie < A",
    "gwet_ac1": "Gwet AC1",
    "fleiss_kappa": "Fleiss kappa",
}
BESIDE = {
    "agreement_with_raters": "Judge with clinician",
    "agreement_with_raters_without_ties": "Without ties",
    "agreement_with_majority": "Judge with majority",
    "kappa_with_majority": "Kappa with majority",
}
TESTS = {"mcnemar": "McNemar, exact", "bowker": "Bowker", "stuart_maxwell": "Stuart-Maxwell"}
HOW = (
    "Labels are in system order, whatever side a response was shown on. Intervals: 95 %, percentiles of a bootstrap "
    f"over prompts, {DRAWS:,} resamples, seed {SEED}; a prompt is drawn with all its comparisons and criteria. They "
    "hold for these clinicians: how far others would differ is not in them. Chance is reckoned within each criterion "
    "and pair of systems."
)
NOBODY = "No clinician has submitted a verdict yet."


Parts = list[tuple[str, dict[str, Any]]]


def sections(source: Source) -> tuple[Section, ...]:
    found = source.agreement
    if found is None:
        return (Section("Agreement", empty=NOBODY),)
    strata = (strata_table(source, found),) if "strata" in found else ()
    return (
        Section(
            "By criterion",
            charts=(agreement_chart(source, found),),
            tables=(among_table(source, found), *strata),
            note=HOW,
        ),
        *(judge_section(source, found, judge) for judge in source.judges),
        pairs_section(source, found),
    )


def agreement_chart(source: Source, found: dict[str, Any]) -> Chart:
    pooled = found["pooled"]
    judges = [judge for judge in source.judges if judge.name in pooled["judges"]]
    note = source.note()
    items = max(part["items"] for part in found["criteria"].values())
    words = (
        f"n = {pooled['ratings']:,} ratings by {pooled['raters']} clinicians, {items:,} comparisons on "
        f"{len(found['criteria'])} criteria; lines: 95 %, bootstrap over prompts"
    )
    data = Dots(
        axis="Share of agreeing labels (A, tie or B)",
        series=("Clinician with clinician", *(f"{judge.display} with clinician" for judge in judges)),
        rows=tuple(
            (name, (Statistic(**part["percent_agreement"]), *(with_raters(part, judge) for judge in judges)))
            for name, part in source.sections_of(found)
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
    return Table(
        "among-clinicians",
        source.caption("Agreement of clinicians with one another", source.clinicians),
        ("Criterion", "Units", "Raters", "Ratings", *AMONG.values(), "With majority of the others"),
        tuple(
            (
                name,
                part["items"],
                part["raters"],
                part["ratings"],
                # Where nobody gave a tie, agreement without ties is agreement.
                *(Statistic(**part.get(key, part["percent_agreement"])) for key in AMONG),
                Statistic(**part["leave_one_out"]["all"]),
            )
            for name, part in source.sections_of(found)
        ),
    )


def strata_table(source: Source, found: dict[str, Any]) -> Table:
    return Table(
        "strata",
        source.caption("Agreement by stratum of the prompts, all criteria pooled"),
        (
            "Stratum",
            "Ratings",
            "Percent agreement",
            "Alpha, B < tie < A",
            *(f"{judge.name} with clinician" for judge in source.judges),
        ),
        tuple(
            (
                name,
                part["pooled"]["ratings"],
                Statistic(**part["pooled"]["percent_agreement"]),
                Statistic(**part["pooled"]["krippendorff_alpha_ordinal"]),
                *(with_raters(part["pooled"], judge) for judge in source.judges),
            )
            for name, part in found["strata"].items()
        ),
    )


def judge_section(source: Source, found: dict[str, Any], judge: RaterRow) -> Section:
    parts = [
        (name, part["judges"][judge.name]) for name, part in source.sections_of(found) if judge.name in part["judges"]
    ]
    title = f"{judge.display} beside the clinicians"
    if not parts:
        return Section(title, empty="It judged nothing that clinicians judged.")
    who = [*source.clinicians, judge]
    pooled = parts[-1][1]["alt_test"]
    return Section(
        title,
        sentences=tuple(test_sentences(judge.display, [(name, own["alt_test"]) for name, own in parts])),
        tables=(
            beside_table(source, found, judge, parts),
            test_table(source, who, judge, parts),
            raters_table(source, who, judge, pooled),
            lean_table(source, who, judge, parts),
            *symmetry_tables(source, who, judge, parts),
        ),
        note=(
            "Alternative annotator test (Calderon, Reichart, Dror 2025): for each clinician with at least "
            f"{ITEMS_NEEDED} prompts shared with the judge and another clinician, a one-sided t-test over "
            f"prompts that the judge matches the others at most epsilon = {EPSILON:g} less often; "
            f"Benjamini-Yekutieli over clinicians at {ALPHA:g}; passed where the winning rate is at least {PASS:g}. "
            "Where clinicians hardly agree with one another, to pass says little: hold it against the winning rate of "
            "always naming the commonest label. Lean: the judge's share of a label less that of a clinician, on the "
            "same comparisons. Tests of symmetry: Holm over the criteria; the majority of several ties less than one "
            "of them, so a single clinician may fail those tests too."
        ),
    )


def beside_table(source: Source, found: dict[str, Any], judge: RaterRow, parts: Parts) -> Table:
    among = dict(source.sections_of(found))
    return Table(
        f"beside-{judge.pk}",
        source.caption(
            f"{judge.name} beside clinicians; comparisons without a majority are left out of it",
            [*source.clinicians, judge],
        ),
        (
            "Criterion",
            "Clinician with clinician",
            *BESIDE.values(),
            "No majority",
            "Judge with majority of the others",
            "Clinician with majority of the others",
        ),
        tuple(
            (
                name,
                Statistic(**among[name]["percent_agreement"]),
                *(Statistic(**own[key]) if key in own else None for key in BESIDE),
                own["majority_ties_excluded"],
                Statistic(**own["leave_one_out"]["judge"]),
                Statistic(**own["leave_one_out"]["raters"]),
            )
            for name, own in parts
        ),
    )


def test_sentences(judge: str, tests: Parts) -> Iterable[str]:
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
    said = in_words(test, judge, rater="clinician", scope=", all criteria pooled")
    if test["passes"] is None:
        return f"{said}."
    advantage = Statistic(**test["advantage_probability"])
    return f"{said}, after Benjamini-Yekutieli; it does at least as well as a clinician with probability {advantage}."


def test_table(source: Source, who: list[RaterRow], judge: RaterRow, parts: Parts) -> Table:
    return Table(
        f"alternative-test-{judge.pk}",
        source.caption(
            f"Alternative annotator test of {judge.name}, epsilon = {EPSILON:g}; n of the rate: clinicians", who
        ),
        ("Criterion", "Verdict", "Winning rate", "Commonest label", "Advantage probability"),
        tuple(
            (
                name,
                {True: "passes", False: "fails", None: "undefined"}[own["alt_test"]["passes"]],
                Statistic(**own["alt_test"]["winning_rate"]),
                Statistic(**own["alt_test"]["baseline"]),
                Statistic(**own["alt_test"]["advantage_probability"]),
            )
            for name, own in parts
        ),
    )


def raters_table(source: Source, who: list[RaterRow], judge: RaterRow, pooled: dict[str, Any]) -> Table:
    return Table(
        f"alternative-raters-{judge.pk}",
        source.caption(f"{judge.name} against each clinician, all criteria pooled, epsilon = {EPSILON:g}", who),
        (
            "Clinician",
            "Prompts",
            "Judge at least as good",
            "Clinician at least as good",
            "p",
            "p, Benjamini-Yekutieli",
            "Judge may replace",
        ),
        tuple((name, *rater_cells(row)) for name, row in pooled["raters"].items()),
    )


def rater_cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    share = [None if row[key] is None else f"{row[key]:.2f}" for key in ("rho_judge", "rho_rater")]
    tested = row["p"] is not None
    return (
        row["n"],
        *share,
        PValue(row["p"]) if tested else None,
        PValue(row["p_adjusted"]) if tested else None,
        {True: "yes", False: "no", None: f"not tested: {row.get('reason', 'no p')}"}[row["rejected"]],
    )


def lean_table(source: Source, who: list[RaterRow], judge: RaterRow, parts: Parts) -> Table:
    return Table(
        f"lean-{judge.pk}",
        source.caption(f"How much more often than a clinician {judge.name} names each label", who),
        ("Criterion", *(label for label in reversed(ORDER))),
        tuple((name, *(Statistic(**own["lean"][label]) for label in reversed(ORDER))) for name, own in parts),
    )


def symmetry_tables(source: Source, who: list[RaterRow], judge: RaterRow, parts: Parts) -> Iterable[Table]:
    """Pooled, the labels of a comparison depend, and of several pairs of systems A is another in each: no test."""
    tested = [(name, own["symmetry_with_majority"]) for name, own in parts if "symmetry_with_majority" in own]
    if tested:
        yield Table(
            f"symmetry-{judge.pk}",
            source.caption(
                f"Does {judge.name} lean as the majority does? p, and p corrected by Holm over the criteria", who
            ),
            ("Criterion", "n", *(head for name in TESTS.values() for head in (name, f"{name}, Holm"))),
            tuple(
                (name, tests["n"], *(p_cell(tests[test], key) for test in TESTS for key in ("p", "p_adjusted")))
                for name, tests in tested
            ),
        )


def p_cell(test: dict[str, Any], key: str) -> Cell:
    return f"undefined: {test['reason']}" if test[key] is None else PValue(test[key])


def pairs_section(source: Source, found: dict[str, Any]) -> Section:
    parts = source.sections_of(found)
    pairs = list(found["pooled"]["cohen_kappa"])
    if not pairs:
        return Section("Pairs of clinicians", empty="It takes two clinicians.")
    kappas = Table(
        "cohen-kappa",
        source.caption("Cohen's kappa of each pair of clinicians", source.clinicians),
        ("Pair", *(name for name, _ in parts)),
        tuple((words(pair), *(kappa_of(part, pair) for _, part in parts)) for pair in pairs),
    )
    tested = [(name, part["symmetry"]) for name, part in parts if "symmetry" in part]
    symmetry = Table(
        "symmetry-pairs",
        source.caption(
            "Do two clinicians lean alike? Stuart-Maxwell tests of equal margins, p corrected by Benjamini-Yekutieli "
            "over the pairs of a criterion",
            source.clinicians,
        ),
        ("Pair", *(name for name, _ in tested)),
        tuple((words(pair), *(stuart_maxwell(tests, pair) for _, tests in tested)) for pair in pairs),
    )
    return Section("Pairs of clinicians", tables=(kappas, *([symmetry] if tested else [])))


def words(pair: str) -> str:
    return pair.replace("|", " and ")


def kappa_of(part: dict[str, Any], pair: str) -> Statistic | None:
    return Statistic(**part["cohen_kappa"][pair]) if pair in part["cohen_kappa"] else None


def stuart_maxwell(tests: dict[str, Any], pair: str) -> Cell:
    return p_cell(tests[pair]["stuart_maxwell"], "p_adjusted") if pair in tests else None
