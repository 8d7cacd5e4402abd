"""What a report says of itself: the study, its design, the methods, the data's hash and the software."""

import platform
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from django.conf import settings

from annotation.models import JudgingDesign, StudyStatus
from evaluation.alternative_annotator import ALPHA, ITEMS_NEEDED, PASS
from evaluation.report_source import DRAWS, EPSILON, SEED, Source

METHODS = Path(settings.BASE_DIR) / "fixtures" / "report_methods.toml"
SOFTWARE = ("Django", "numpy", "scipy", "pandas", "matplotlib", "typst")


@dataclass(frozen=True)
class Method:
    """A statistic of the report: its name, what it is, and where it comes from."""

    name: str
    words: str
    reference: str = ""


def methods() -> list[Method]:
    """How every number was made, with the constants it was made with."""
    constants = {"draws": f"{DRAWS:,}", "seed": SEED, "epsilon": f"{EPSILON:g}"}
    constants |= {"items_needed": ITEMS_NEEDED, "alpha": f"{ALPHA:g}", "pass": f"{PASS:g}"}
    found = tomllib.loads(METHODS.read_text(encoding="utf-8"))["method"]
    return [Method(row["name"], row["words"].format(**constants), row.get("reference", "")) for row in found]


def facts(source: Source) -> list[tuple[str, str]]:
    """(name, value) of the study, its design and its data."""
    study = source.study
    return [
        ("Study", study.slug),
        ("Status", status_words(source)),
        *([("Part shown", str(source.selection))] if str(source.selection) else []),
        ("Criteria", ", ".join(source.criteria.values()) or "none"),
        ("Raters", counted(source)),
        *designs(source),
        ("Data, SHA-256", study.data_sha256 or "taken when the study is locked"),
    ]


def counted(source: Source) -> str:
    people, judges = len(source.clinicians), len(source.judges)
    shown = "" if source.blind else f", {judges} judge{'' if judges == 1 else 's'}"
    return f"{people} clinician{'' if people == 1 else 's'}{shown}"


def status_words(source: Source) -> str:
    study = source.study
    since = f" since {study.locked_at:%-d %B %Y, %H:%M} UTC" if study.locked_at else ""
    blind = "not unblinded" if not study.unblinded_at else f"unblinded {study.unblinded_at:%-d %B %Y, %H:%M} UTC"
    return f"{StudyStatus(study.status).label.lower()}{since}, {blind}"


def designs(source: Source) -> list[tuple[str, str]]:
    found = JudgingDesign.objects.filter(study=source.study).prefetch_related("systems")
    return [(f"Design {design.name}", design_words(design, source)) for design in found]


def design_words(design: JudgingDesign, source: Source) -> str:
    names = " and ".join(system.name for system in design.systems.all())
    systems = f"{names} on " if not source.blind else ""
    overlap = f"{design.raters_per_pair} clinicians a pair" if design.raters_per_pair else "all clinicians on all pairs"
    strata = "; ".join(f"{name}: {drawn} of {there}" for name, (there, drawn) in design.strata.items())
    again = f", {design.repeated_pairs} pairs seen twice" if design.repeated_pairs else ""
    return f"{systems}{design.prompts} prompts, {overlap}{again}, seed {design.seed}{f' ({strata})' if strata else ''}"


def software() -> list[tuple[str, str]]:
    return [
        ("Attune", version("attune")),
        ("Python", platform.python_version()),
        *((name, version(name)) for name in SOFTWARE),
    ]
