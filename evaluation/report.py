"""What a study's report shows. Until the study is locked it is blind: nothing in it tells systems apart.

Progress is read anew for every page; the statistics are kept in the cache until a verdict, a name or the status
changes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from django.core.cache import cache
from django.db.models import Count, Exists, Max, OuterRef, Q

from annotation.errors import StudyError
from annotation.models import RaterKind, Study, StudyStatus
from evaluation.agreement import agreement
from evaluation.charts import Bars, Chart, Dots
from evaluation.labels import JudgeCheck, judge_checks, labels_of, verdicts_of
from evaluation.ratings import COLUMNS, HUMAN
from evaluation.statistics import Statistic
from evaluation.win_rates import PairOutcome, majorities, pair_outcomes, verdict_outcomes, win_rates
from training.models import PreferenceDataset

DRAWS, SEED = 2000, 0
ORDER = ("B", "tie", "A")
# Part of every cache key: raise it when what is kept changes its shape.
VERSION = 2
KEPT_FOR = 60 * 60 * 24 * 7
AMONG = ("percent_agreement", "percent_agreement_without_ties", "gwet_ac1", "fleiss_kappa")


@dataclass(frozen=True)
class RaterRow:
    """A clinician or judge, how they are named in the report, and how far they have come."""

    name: str
    display: str
    kind: str
    simulated: bool
    toy: bool
    learned_from_simulated: bool
    assigned: int
    submitted: int
    last: str


@dataclass(frozen=True)
class AgreementRow:
    """One criterion, or all pooled: agreement among clinicians, and of each judge with them."""

    name: str
    items: int
    raters: int
    ratings: int
    among: dict[str, Statistic]
    judges: dict[str, dict[str, Any]]
    cohen_kappa: dict[str, Statistic]


@dataclass(frozen=True)
class PairSection:
    """Two systems before the clinicians: every verdict, and the majority on each prompt."""

    system_a: str
    system_b: str
    chart: Chart
    rows: list[tuple[str, PairOutcome, PairOutcome]]


@dataclass(frozen=True)
class RateTable:
    """Win rates by one judge, or by the clinicians' majorities: a row a system, a column a criterion."""

    source: str
    toy: bool
    criteria: list[str]
    rows: list[tuple[str, list[Statistic | None]]]


@dataclass(frozen=True)
class JudgeSection:
    """A judge beside the clinicians, and what its two looks at each comparison say.

    A row holds a criterion, the agreement of clinicians with one another, and the judge's with them.
    """

    display: str
    toy: bool
    check: JudgeCheck
    rows: list[tuple[str, Statistic, dict[str, Any]]]


@dataclass(frozen=True)
class Findings:
    """The statistics of a report. Before the lock only the agreement among clinicians is filled."""

    agreement: list[AgreementRow] = field(default_factory=list)
    agreement_chart: Chart | None = None
    pairs: list[PairSection] = field(default_factory=list)
    rates: list[RateTable] = field(default_factory=list)
    judges: list[JudgeSection] = field(default_factory=list)

    def kappas(self) -> list[tuple[str, list[Statistic | None]]]:
        """Cohen's kappa of each pair of clinicians in each row of `agreement`."""
        pairs = self.agreement[-1].cohen_kappa if self.agreement else {}
        return [(pair.replace("|", " and "), [row.cohen_kappa.get(pair) for row in self.agreement]) for pair in pairs]

    def charts(self) -> dict[str, Chart]:
        drawn = [section.chart for section in self.pairs]
        return {chart.name: chart for chart in ([self.agreement_chart] if self.agreement_chart else []) + drawn}


@dataclass(frozen=True)
class Report:
    study: Study
    blind: bool
    raters: list[RaterRow]
    simulated: list[str]
    findings: Findings

    @property
    def toys(self) -> list[str]:
        return [row.name for row in self.raters if row.toy]

    @property
    def learners(self) -> list[str]:
        """Judges whose reward models learned from simulated raters."""
        return [row.name for row in self.raters if row.learned_from_simulated]


def report_of(study: Study) -> Report:
    """The report as it may be shown at the study's present status."""
    raters = rater_rows(study)
    return Report(study, not is_unblinded(study), raters, simulated_kinds(study), kept_findings(study, raters))


def is_unblinded(study: Study) -> bool:
    return study.status == StudyStatus.LOCKED


def rater_rows(study: Study) -> list[RaterRow]:
    simulated_data = PreferenceDataset.objects.filter(runs__judges=OuterRef("pk"), raters__simulated=True)
    rows = (
        study.raters.active()
        .filter(kind__in=[RaterKind.CLINICIAN, RaterKind.JUDGE])
        .annotate(
            learned_from_simulated=Exists(simulated_data),
            assigned=Count("assignments"),
            submitted=Count("assignments", filter=Q(assignments__submitted_at__isnull=False)),
            last=Max("assignments__submitted_at"),
        )
        .order_by("kind", "pk")
        .values("name", "kind", "simulated", "judge__is_toy", "learned_from_simulated", "assigned", "submitted", "last")
    )
    return [
        RaterRow(
            name=row["name"],
            display=display_name(row),
            kind=row["kind"],
            simulated=row["simulated"],
            toy=bool(row["judge__is_toy"]),
            learned_from_simulated=row["learned_from_simulated"],
            assigned=row["assigned"],
            submitted=row["submitted"],
            last=str(row["last"]),
        )
        for row in rows
    ]


def display_name(row: Mapping[str, Any]) -> str:
    """The rater's name, never without what takes from its weight."""
    words = {
        "simulated": row["simulated"],
        "toy judge": row["judge__is_toy"],
        "learned from simulated raters": row["learned_from_simulated"],
    }
    said = ", ".join(word for word, holds in words.items() if holds)
    return f"{row['name']} ({said})" if said else str(row["name"])


def simulated_kinds(study: Study) -> list[str]:
    """Sentences such as "6 of 6 clinicians", for each kind of rater of which any are simulated."""
    counts = (
        study.raters.active()
        .order_by("kind")
        .values_list("kind")
        .annotate(everyone=Count("pk"), simulated=Count("pk", filter=Q(simulated=True)))
    )
    return [f"{simulated} of {everyone} {kind}s" for kind, everyone, simulated in counts if simulated]


def agreement_labels(study: Study, *, judge: str | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The labels of which agreement may be told now, and what must be said beside it.

    Raises:
        StudyError: a judge is asked for before the lock, or no clinician has given a verdict.
    """
    unblinded = is_unblinded(study)
    if judge and not unblinded:
        raise StudyError(f"study {study.slug} is {study.status}: judges are reported once it is locked")
    raters = rater_rows(study)
    simulated = [row.name for row in raters if row.simulated]
    toys = [row.name for row in raters if row.toy and unblinded]
    notes = [f"simulated raters, no person stands behind them: {', '.join(simulated)}"] if simulated else []
    notes += [f"toy judges, their opinions are worth nothing: {', '.join(toys)}"] if toys else []
    learners = [row.name for row in raters if row.learned_from_simulated and unblinded]
    notes += [f"judges that learned from simulated raters: {', '.join(learners)}"] if learners else []
    notes += [] if unblinded else [f"study {study.slug} is {study.status}: judges are left out until it is locked"]
    labels = labels_of(verdicts_of(study))
    if not (labels["rater_kind"] == HUMAN).any():
        raise StudyError(f"study {study.slug} has no verdict by a clinician yet: there is no agreement to tell of")
    kept = labels if unblinded else labels[labels["rater_kind"] == HUMAN]
    return kept, {
        "simulated_raters": simulated,
        "toy_judges": toys,
        "judges_of_simulated_raters": learners,
        "notes": notes,
    }


def kept_findings(study: Study, raters: Sequence[RaterRow]) -> Findings:
    criteria = dict(study.criteria.filter(judged=True).values_list("key", "name"))
    systems = list(study.systems.values_list("pk", "name"))
    content = repr((VERSION, study.pk, study.status, raters, criteria, systems))
    key = f"report:{hashlib.sha256(content.encode()).hexdigest()}"
    findings: Findings | None = cache.get(key)
    if findings is None:
        findings = findings_of(study, {row.name: row for row in raters}, criteria)
        cache.set(key, findings, KEPT_FOR)
    return findings


def findings_of(study: Study, raters: dict[str, RaterRow], criteria: dict[str, str]) -> Findings:
    verdicts = verdicts_of(study)
    verdicts = verdicts[verdicts["criterion"].isin(list(criteria))]
    labels = labels_of(verdicts)
    people = labels[labels["rater_kind"] == HUMAN]
    if not is_unblinded(study):
        rows = agreement_rows(people, criteria)
        return Findings(agreement=rows, agreement_chart=agreement_chart(rows, raters))
    rows = agreement_rows(labels, criteria)
    return Findings(
        agreement=rows,
        agreement_chart=agreement_chart(rows, raters),
        pairs=pair_sections(people, criteria, raters),
        rates=rate_tables(labels, criteria, raters),
        judges=[
            JudgeSection(
                raters[name].display,
                raters[name].toy,
                check,
                [(row.name, row.among["percent_agreement"], row.judges[name]) for row in rows if name in row.judges],
            )
            for name, check in judge_checks(verdicts, draws=DRAWS, seed=SEED).items()
        ],
    )


def agreement_rows(labels: pd.DataFrame, criteria: dict[str, str]) -> list[AgreementRow]:
    if not (labels["rater_kind"] == HUMAN).any():
        return []
    frame = labels[[*COLUMNS, "rater_kind"]]
    nominal = agreement(frame, bootstrap=DRAWS, seed=SEED)
    people = frame[frame["rater_kind"] == HUMAN]
    ordinal = agreement(people, level="ordinal", order=ORDER, bootstrap=DRAWS, seed=SEED)
    named = [(name, key) for key, name in criteria.items() if key in nominal["criteria"]]
    return [
        *(agreement_row(name, nominal["criteria"][key], ordinal["criteria"][key]) for name, key in named),
        agreement_row("All criteria pooled", nominal["pooled"], ordinal["pooled"]),
    ]


def agreement_row(name: str, part: dict[str, Any], ordinal: dict[str, Any]) -> AgreementRow:
    # Where nobody gave a tie, agreement without ties is agreement.
    among = {key: Statistic(**part.get(key, part["percent_agreement"])) for key in AMONG}
    among["alpha"] = Statistic(**part["krippendorff_alpha"])
    among["alpha_ordinal"] = Statistic(**ordinal["krippendorff_alpha"])
    return AgreementRow(
        name=name,
        items=part["items"],
        raters=part["raters"],
        ratings=part["ratings"],
        among=among,
        judges={judge: judge_statistics(found) for judge, found in part["judges"].items()},
        cohen_kappa={pair: Statistic(**kappa) for pair, kappa in part["cohen_kappa"].items()},
    )


def judge_statistics(found: dict[str, Any]) -> dict[str, Any]:
    test = found["alt_test"]
    return {
        "with_raters": Statistic(**found["agreement_with_raters"]),
        "with_majority": Statistic(**found["agreement_with_majority"]),
        "ties_excluded": found["majority_ties_excluded"],
        "with_others": Statistic(**found["leave_one_out"]["judge"]),
        "rater_likewise": Statistic(**found["leave_one_out"]["raters"]),
        "winning_rate": Statistic(**test["winning_rate"]),
        "advantage": Statistic(**test["advantage_probability"]),
        "passes": test["passes"],
        "epsilon": test["epsilon"],
    }


def agreement_chart(rows: Sequence[AgreementRow], raters: dict[str, RaterRow]) -> Chart | None:
    if not rows:
        return None
    judges = list(rows[-1].judges)
    pooled = rows[-1]
    data = Dots(
        axis="Share of agreeing labels (A, tie or B)",
        series=("Clinician with clinician", *(f"{raters[judge].display} with clinician" for judge in judges)),
        rows=tuple(
            (row.name, (row.among["percent_agreement"], *(judge_share(row, judge) for judge in judges))) for row in rows
        ),
        note=f"n = {pooled.items} items by criterion, {pooled.ratings} ratings by {pooled.raters} clinicians; "
        f"lines: 95 %, bootstrap over items{simulation_note(raters)}{toy_note(raters, judges)}",
    )
    alt = "; ".join(
        f"{name}: " + ", ".join(f"{series} {value}" for series, value in zip(data.series, values, strict=True))
        for name, values in data.rows
    )
    return Chart("agreement", f"Agreement by criterion. {data.note}.".replace("\n", ". "), alt, data)


def judge_share(row: AgreementRow, judge: str) -> Statistic:
    if judge not in row.judges:
        return Statistic(None, None, None, 0, "it did not judge this criterion")
    share: Statistic = row.judges[judge]["with_raters"]
    return share


def simulation_note(raters: dict[str, RaterRow]) -> str:
    simulated = [row for row in raters.values() if row.simulated and row.kind == RaterKind.CLINICIAN]
    return "\nSimulated clinicians: no person stands behind these verdicts" if simulated else ""


def toy_note(raters: dict[str, RaterRow], judges: Sequence[str]) -> str:
    return "\nToy judge: its opinions are worth nothing" if any(raters[judge].toy for judge in judges) else ""


def pair_sections(people: pd.DataFrame, criteria: dict[str, str], raters: dict[str, RaterRow]) -> list[PairSection]:
    if people.empty:
        return []
    majority = {(o.system_a, o.system_b, o.criterion): o for o in pair_outcomes(majorities(people))}
    found = {(o.system_a, o.system_b, o.criterion): o for o in verdict_outcomes(people, draws=DRAWS, seed=SEED)}
    pairs = dict.fromkeys((a, b) for a, b, _ in found)
    sections = []
    for number, (a, b) in enumerate(pairs, start=1):
        rows = [(name, found[a, b, key], majority[a, b, key]) for key, name in criteria.items() if (a, b, key) in found]
        chart = outcome_chart(f"outcomes-{number}", rows, people, raters)
        sections.append(PairSection(a, b, chart, rows))
    return sections


def outcome_chart(
    name: str, rows: list[tuple[str, PairOutcome, PairOutcome]], people: pd.DataFrame, raters: dict[str, RaterRow]
) -> Chart:
    first = rows[0][1]
    own = people[(people["system_a"] == first.system_a) & (people["system_b"] == first.system_b)]
    note = (
        f"n = {first.wins.n} verdicts a criterion on {first.prompts} prompts by {own['rater'].nunique()} clinicians; "
        f"whiskers: 95 %, bootstrap over prompts{simulation_note(raters)}"
    )
    data = Bars(
        first.system_a,
        first.system_b,
        tuple((row, every.wins, every.ties, every.losses) for row, every, _ in rows),
        note,
    )
    alt = "; ".join(
        f"{row}: {first.system_a} better {wins}, tie {ties}, {first.system_b} better {losses}"
        for row, wins, ties, losses in data.rows
    )
    caption = f"{first.system_a} and {first.system_b} before the clinicians. {note}.".replace("\n", ". ")
    return Chart(name, caption, alt, data)


def rate_tables(labels: pd.DataFrame, criteria: dict[str, str], raters: dict[str, RaterRow]) -> list[RateTable]:
    people = labels[labels["rater_kind"] == HUMAN]
    simulated = " (simulated)" if any(row.simulated for row in raters.values()) else ""
    sources = [(f"Clinicians' majorities{simulated}", False, majorities(people))] if len(people) else []
    judged = labels[labels["rater_kind"] != HUMAN]
    for name, rows in judged.groupby("rater", sort=True):
        judge = raters[str(name)]
        sources.append((judge.display, judge.toy, majorities(rows)))
    return [rate_table(source, toy, rows, criteria) for source, toy, rows in sources]


def rate_table(source: str, toy: bool, rows: pd.DataFrame, criteria: dict[str, str]) -> RateTable:
    rates = win_rates(rows, draws=DRAWS, seed=SEED)
    keys = [key for key in criteria if (rows["criterion"] == key).any()]
    return RateTable(
        source,
        toy,
        [criteria[key] for key in keys],
        [(system, [by.get(key) for key in keys]) for system, by in rates.items()],
    )
