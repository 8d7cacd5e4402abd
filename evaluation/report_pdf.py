"""The whole report as one PDF, typeset by Typst: tagged, so that screen readers find headings, tables and texts."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from evaluation import report
from evaluation.report_facts import facts, methods, software
from evaluation.report_source import Source
from evaluation.report_tables import Section, Table, shown

TEMPLATE = Path(settings.BASE_DIR) / "templates" / "admin" / "evaluation" / "studyreport" / "report.typ"


def pdf_of(source: Source) -> bytes:
    """The report as it may be shown, kept until something in it changes."""
    said = repr((source.study.title, facts(source), software(), report.banners(source)))
    return source.kept(f"pdf-{hashlib.sha256(said.encode()).hexdigest()}", lambda: typeset(source))


def typeset(source: Source) -> bytes:
    # Late: only who asks for a PDF needs it.
    import typst

    with tempfile.TemporaryDirectory(prefix="attune-report-") as name:
        folder = Path(name)
        (folder / "report.typ").write_bytes(TEMPLATE.read_bytes())
        (folder / "report.json").write_text(json.dumps(content(source, folder), ensure_ascii=False), encoding="utf-8")
        pdf: bytes = typst.compile(folder / "report.typ", root=folder, pdf_standards="ua-1")
        return pdf


def content(source: Source, folder: Path) -> dict[str, Any]:
    """What the template prints. Figures are written to the folder."""
    banners = report.banners(source)
    return {
        "title": source.study.title,
        "blind": source.blind,
        "cautions": [
            *([f"Simulated: {', '.join(banners.simulated)} are simulated."] if banners.simulated else []),
            *([f"Toy judge: {', '.join(banners.toys)}."] if banners.toys else []),
            *([f"Learned from simulated raters: {', '.join(banners.learners)}."] if banners.learners else []),
        ],
        "facts": facts(source),
        "methods": [[method.name, method.words, method.reference] for method in methods()],
        "software": software(),
        "progress": [[row.display, row.kind, str(row.submitted), str(row.assigned)] for row in source.everyone],
        "chapters": [
            {"title": title, "sections": [printed(section, f"{slug}-", folder) for section in found]}
            for slug, title, found in chapters(source)
        ],
    }


def chapters(source: Source) -> Iterator[tuple[str, str, tuple[Section, ...]]]:
    for page in report.pages(source).values():
        found = report.sections(source, page.slug)
        # Texts to be read stay on the site: they are not for a file that travels.
        if found and page.slug != "overview":
            yield page.slug, page.title, found
    for rater in source.clinicians:
        slug = f"{report.RATER}{rater.pk}"
        yield slug, f"Rater {rater.display}", report.sections(source, slug)


def printed(section: Section, prefix: str, folder: Path) -> dict[str, Any]:
    for chart in section.charts:
        (folder / f"{prefix}{chart.name}.svg").write_bytes(report.svg_of(chart))
    return {
        "title": section.title,
        "sentences": section.sentences or ([section.empty] if section.is_empty else []),
        "figures": [
            {"file": f"{prefix}{chart.name}.svg", "caption": chart.caption, "alt": chart.alt}
            for chart in section.charts
        ],
        "tables": [printed_table(table) for table in section.tables],
        "note": section.note,
    }


def printed_table(table: Table) -> dict[str, Any]:
    rows = [[[cell.text, cell.small] for cell in map(shown, row)] for row in table.rows]
    return {"caption": table.caption, "columns": table.columns, "rows": rows}
