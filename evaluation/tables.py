"""The result of `agreement` as a text for a terminal of 100 columns."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from textwrap import fill
from typing import Any

from evaluation.alternative_annotator import in_words
from evaluation.report_tables import PValue
from evaluation.statistics import Statistic

WIDTH = 100
# More pairs of raters than this (8 raters) are for --json.
PAIRS_SHOWN = 28
COUNTS = ("items", "raters", "ratings")
AMONG = {
    ("percent_agreement",): "percent agreement",
    ("percent_agreement_without_ties",): "without ties",
    ("pairwise_agreement",): "all pairs",
    ("pairwise_agreement_without_ties",): "pairs without ties",
    ("leave_one_out", "all"): "with the others",
    ("krippendorff_alpha_nominal",): "Krippendorff alpha",
    ("krippendorff_alpha_ordinal",): "ordinal alpha",
    ("gwet_ac1",): "Gwet AC1",
    ("fleiss_kappa",): "Fleiss kappa",
    ("scott_pi",): "Scott pi",
}
BESIDE = {
    ("agreement_with_raters",): "with raters",
    ("agreement_with_raters_without_ties",): "without ties",
    ("agreement_with_raters_pairwise",): "all pairs",
    ("agreement_with_raters_pairwise_without_ties",): "pairs without ties",
    ("agreement_with_majority",): "with majority",
    ("agreement_with_majority_without_ties",): "majority less ties",
    ("kappa_with_majority",): "majority kappa",
    ("leave_one_out", "judge"): "with the others",
    ("leave_one_out", "raters"): "a rater likewise",
    ("alt_test", "winning_rate"): "winning rate",
    ("alt_test", "advantage_probability"): "does as well",
}
SYMMETRY = {"mcnemar": "McNemar", "bowker": "Bowker", "stuart_maxwell": "Stuart-Maxwell"}
# They need an order of the labels, or exactly two raters: left out without a word where there is none.
OPTIONAL = {("krippendorff_alpha_ordinal",), ("scott_pi",)}

Sections = Mapping[str, Mapping[str, Any]]


def agreement_text(result: Mapping[str, Any]) -> str:
    """Tables of the raters and of each judge beside them, by criterion, pooled and by stratum, with the reasons of what
    is undefined and the corrections made."""
    criteria, pooled = result["criteria"], result["pooled"]
    sections = {**criteria, "pooled": pooled} if len(criteria) > 1 else criteria
    strata = {name: part["pooled"] for name, part in result.get("strata", {}).items()}
    parts = [*tables(sections, "criterion"), pairs_table(pooled)]
    if strata:
        parts += ["BY STRATUM, all criteria pooled", *tables(strata, "stratum")]
    parts += [fill(f"{in_words(judge['alt_test'], name)}.", WIDTH) for name, judge in pooled["judges"].items()]
    judges = [judge for part in criteria.values() for judge in part["judges"].values()]
    tested = any("symmetry_with_majority" in judge for judge in judges)
    parts += [reasons({**sections, **strata}), notes(result["settings"], judged=bool(judges), tested=tested)]
    return "\n\n".join(part for part in parts if part)


def tables(sections: Sections, name: str) -> Iterator[str]:
    header, rows = columns(sections, AMONG)
    counts = [[str(part[key]) for key in COUNTS] for part in sections.values()]
    rows = [[title, *own, *row] for title, own, row in zip(sections, counts, rows, strict=True)]
    yield "Raters with one another\n" + blocks([name, *COUNTS, *header], rows)
    for judge in dict.fromkeys(judge for part in sections.values() for judge in part["judges"]):
        beside = {title: part["judges"][judge] for title, part in sections.items() if judge in part["judges"]}
        yield judge_tables(beside, judge, name)


def judge_tables(beside: Sections, judge: str, name: str) -> str:
    header, rows = columns(beside, BESIDE)
    rows = [[title, *row] for title, row in zip(beside, rows, strict=True)]
    tests = [
        [title, *(p_of(part["symmetry_with_majority"][test]) for test in SYMMETRY)]
        for title, part in beside.items()
        if name == "criterion" and "symmetry_with_majority" in part
    ]
    parts = [f"Judge {judge} with the raters\n{blocks([name, *header], rows)}"]
    leans = [[title, *map(shown, part["lean"].values())] for title, part in beside.items()]
    labels = next(iter(beside.values()))["lean"]
    parts.append(f"How much more often than a rater does {judge} name a label?\n{blocks([name, *labels], leans)}")
    if tests:
        lean = grid([name, *SYMMETRY.values()], tests)
        parts.append(f"Does {judge} lean another way than the majority? Adjusted p\n{lean}")
    return "\n\n".join(parts)


def columns(sections: Sections, names: Mapping[tuple[str, ...], str]) -> tuple[list[str], list[list[str]]]:
    """The titles of the statistics that have a value in any section, and a row of them a section."""
    found = {path: [statistic_in(part, path) for part in sections.values()] for path in names}
    kept = {path: own for path, own in found.items() if any(one and one["value"] is not None for one in own)}
    rows = [[shown(one) if one else "" for one in row] for row in zip(*kept.values(), strict=True)]
    return [names[path] for path in kept], rows or [[] for _ in sections]


def statistic_in(part: Any, path: Sequence[str]) -> Any:
    for name in path:
        part = part.get(name, {})
    return part or None


def shown(statistic: dict[str, Any]) -> str:
    return "undefined" if statistic["value"] is None else str(Statistic(**statistic))


def p_of(test: Mapping[str, Any]) -> str:
    p = test["p_adjusted"]
    return "undefined" if p is None else str(PValue(p))


def pairs_table(pooled: Mapping[str, Any]) -> str:
    kappas = pooled["cohen_kappa"]
    if len(kappas) > PAIRS_SHOWN:
        values = [kappa["value"] for kappa in kappas.values() if kappa["value"] is not None]
        middle = f", median {median(values):.2f}, from {min(values):.2f} to {max(values):.2f}" if values else ""
        return f"Cohen kappa: defined for {len(values)} of {len(kappas)} pairs of raters{middle} (each: --json)"
    rows = [[pair, str(kappa["n"]), shown(kappa)] for pair, kappa in kappas.items()]
    return grid(["pair of raters", "n", "Cohen kappa"], rows) if rows else ""


def reasons(sections: Sections) -> str:
    """Each reason with the statistics and the sections it goes for; without the latter where it goes for all."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for name, part in sections.items():
        for title, reason in reasons_in(part):
            titles, names = found.setdefault(reason, ({}, {}))
            titles[title] = names[name] = None
    lines = [
        f"{', '.join(titles)}{'' if len(names) == len(sections) else ' of ' + ', '.join(names)}: {reason}"
        for reason, (titles, names) in found.items()
    ]
    wrapped = [fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ") for line in lines]
    return "\n".join(["Undefined, or without interval:", *wrapped]) if lines else ""


def reasons_in(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(title, reason) of each statistic that the tables show, or would."""
    named = [(title, statistic_in(part, path)) for path, title in AMONG.items() if path not in OPTIONAL]
    if len(part["cohen_kappa"]) <= PAIRS_SHOWN:
        named += [(f"Cohen kappa of {pair}", kappa) for pair, kappa in part["cohen_kappa"].items()]
    for name, judge in part["judges"].items():
        named += [(f"{title} ({name})", statistic_in(judge, path)) for path, title in BESIDE.items()]
    yield from ((title, one["reason"]) for title, one in named if one and one["reason"])


def notes(settings: Mapping[str, Any], *, judged: bool, tested: bool) -> str:
    lines = [f"Labels: {', '.join(settings['categories'])}"]
    if settings["bootstrap"]:
        lines.append(f"Intervals: {settings['interval']}, {settings['bootstrap']} resamples, seed {settings['seed']}")
    corrections = settings["corrections"]
    if judged:
        lines.append(f"Alternative annotator test, p adjusted: {corrections['alt_test']}")
    if tested:
        lines.append(f"Tests of leaning, p adjusted: {corrections['symmetry_with_majority']}")
    return "\n".join(fill(line, WIDTH, subsequent_indent="  ") for line in lines)


def blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table, of a single row upright; cut between columns where it is wider than the terminal, each part then
    beginning with the first column."""
    if len(rows) == 1:
        upright = list(zip(header, rows[0], strict=True))
        return grid(upright[0], upright[1:])
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    parts: list[list[int]] = [[]]
    for place, width in enumerate(widths[1:], start=1):
        taken = widths[0] + sum(widths[other] + 2 for other in parts[-1])
        if parts[-1] and taken + width + 2 > WIDTH:
            parts.append([])
        parts[-1].append(place)
    return "\n\n".join(
        grid([header[0], *(header[p] for p in part)], [[row[0], *(row[p] for p in part)] for row in rows])
        for part in parts
    )


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    )
