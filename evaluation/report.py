"""A study's report: its pages, what each may show now, and what is kept of them.

Until the study is unblinded nothing in it tells systems apart, and judges are left out. What a page shows is computed
once for each state of the study (see `Source.state`), its figures with it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from django.core.cache import caches

from annotation.errors import StudyError
from annotation.models import Study
from evaluation import (
    report_agreement,
    report_confusion,
    report_outcomes,
    report_people,
    report_rankings,
    report_reading,
)
from evaluation.charts import Chart
from evaluation.labels import labels_of, verdicts_of
from evaluation.ratings import HUMAN
from evaluation.report_raters import RaterRow, rater_rows, simulated_kinds
from evaluation.report_source import KEPT_FOR, POOLED, Selection, Source
from evaluation.report_tables import Section, Table
from evaluation.statistics import Statistic

RATER = "rater-"


@dataclass(frozen=True)
class Page:
    """A page of the report. Only those that can be told without telling systems apart are for the blind."""

    slug: str
    title: str
    for_the_blind: bool
    sections: Callable[[Source], tuple[Section, ...]]
    # What stands in every exported row beside its numbers.
    note: Callable[[Source], str] = Source.note


def overview_sections(source: Source) -> tuple[Section, ...]:
    """The verdicts in sentences and the main figures, which stand with their tables on pages of their own."""
    found = source.agreement
    if found is None:
        return (Section("In short", empty="No clinician has submitted a verdict yet."),)
    shown = [chart for slug in ("outcomes", "agreement") for chart in charts_of(source, slug)]
    sentences = [agreement_sentence(found["pooled"])]
    for judge in source.judges:
        if judge.name in found["pooled"]["judges"]:
            test = found["pooled"]["judges"][judge.name]["alt_test"]
            sentences.append(report_agreement.pooled_sentence(judge.display, test))
    return (Section("In short", sentences=tuple(sentences), charts=tuple(shown)),)


def charts_of(source: Source, slug: str) -> tuple[Chart, ...]:
    if slug not in pages(source):
        return ()
    return tuple(chart for section in sections(source, slug) for chart in section.charts)


def agreement_sentence(pooled: dict[str, Any]) -> str:
    among, alpha = (Statistic(**pooled[key]) for key in ("percent_agreement", "krippendorff_alpha_nominal"))
    return (
        f"{POOLED}, {pooled['raters']} clinicians agree with one another on a share of {among} of their labels "
        f"(Krippendorff alpha {alpha}, n = {alpha.n})."
    )


PAGES = (
    Page("overview", "Overview", True, overview_sections),
    Page("outcomes", "Outcomes", False, report_outcomes.sections),
    Page("agreement", "Agreement", True, report_agreement.sections),
    Page("confusion", "Confusion", False, report_confusion.sections),
    Page("raters", "Raters", True, report_people.sections),
    Page("position", "Position bias", True, report_people.position_sections),
    Page("rankings", "Rankings", True, report_rankings.sections, report_rankings.caution),
    Page("disagreements", "Disagreements", True, lambda source: ()),
    Page("flags", "Safety flags", True, report_reading.flag_sections),
)


def source_of(study: Study, selection: Selection | None = None, *, blind: bool = False) -> Source:
    """The study as it may be told of now, or `blind` even if more may be told."""
    return Source(study, selection or Selection(), blind or study.unblinded_at is None)


def pages(source: Source) -> dict[str, Page]:
    """The pages that may be shown, in their order: without those of single raters."""
    return {page.slug: page for page in PAGES if page.for_the_blind or not source.blind}


def rater_of(source: Source, slug: str) -> RaterRow | None:
    """The clinician whose page has the slug."""
    return next((row for row in source.clinicians if f"{RATER}{row.pk}" == slug), None)


def exists(source: Source, slug: str) -> bool:
    return slug in pages(source) or rater_of(source, slug) is not None


def sections(source: Source, slug: str) -> tuple[Section, ...]:
    """What stands on a page that exists, its figures drawn."""
    return source.kept(f"page-{slug}", lambda: computed(source, slug))


def computed(source: Source, slug: str) -> tuple[Section, ...]:
    rater = rater_of(source, slug)
    found = report_people.rater_sections(source, rater) if rater else pages(source)[slug].sections(source)
    for section in found:
        for chart in section.charts:
            svg_of(chart)
    return found


def is_ready(source: Source, slug: str) -> bool:
    """Whether the page's content is at hand."""
    return source.has(f"page-{slug}")


def svg_of(chart: Chart) -> bytes:
    """The drawing, made once."""
    key = f"figure:{chart.digest}"
    drawn: bytes | None = caches["reports"].get(key)
    if drawn is None:
        # Late: matplotlib is loaded by the process that draws, and only then.
        from evaluation.figures import draw

        drawn = draw(chart.data)
        caches["reports"].set(key, drawn, KEPT_FOR)
    return drawn


def chart_named(found: Iterable[Section], name: str) -> Chart | None:
    return next((chart for section in found for chart in section.charts if chart.name == name), None)


def table_named(found: Iterable[Section], name: str) -> Table | None:
    return next((table for section in found for table in section.tables if table.name == name), None)


def about(source: Source, slug: str) -> dict[str, str]:
    """What every exported row of a page says of where it comes from."""
    page = pages(source).get(slug)
    return {
        "study": source.study.slug,
        "stratum": source.selection.stratum or "all",
        "raters": ", ".join(source.selection.raters) or "all",
        "caution": page.note(source) if page else source.note(),
        "data_sha256": source.study.data_sha256,
    }


@dataclass(frozen=True)
class Banners:
    """What is said at the top of every page: which raters are simulated, toys, or learned from simulated ones."""

    simulated: list[str]
    toys: list[str]
    learners: list[str]


def banners(source: Source) -> Banners:
    return Banners(
        simulated_kinds(source.study),
        [row.name for row in source.everyone if row.toy],
        [row.name for row in source.everyone if row.learned_from_simulated],
    )


def agreement_labels(study: Study, *, judge: str | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The labels of which agreement may be told now, and what must be said beside it.

    Raises:
        StudyError: a judge is asked for before the unblinding, or no clinician has given a verdict.
    """
    unblinded = study.unblinded_at is not None
    if judge and not unblinded:
        raise StudyError(f"study {study.slug} is {study.status}: judges are reported once it is locked and unblinded")
    raters = rater_rows(study)
    simulated = [row.name for row in raters if row.simulated]
    toys = [row.name for row in raters if row.toy and unblinded]
    notes = [f"simulated raters, no person stands behind them: {', '.join(simulated)}"] if simulated else []
    notes += [f"toy judges, their opinions are worth nothing: {', '.join(toys)}"] if toys else []
    learners = [row.name for row in raters if row.learned_from_simulated and unblinded]
    notes += [f"judges that learned from simulated raters: {', '.join(learners)}"] if learners else []
    left_out = f"study {study.slug} is {study.status}: judges are left out until it is locked and unblinded"
    notes += [] if unblinded else [left_out]
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
