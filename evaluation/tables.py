"""The result of `agreement` as a text for the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from evaluation.statistics import Statistic

AMONG = {
    "percent_agreement": "percent agreement",
    "krippendorff_alpha": "Krippendorff alpha",
    "gwet_ac1": "Gwet AC1",
    "fleiss_kappa": "Fleiss kappa",
}


def agreement_text(result: dict[str, Any]) -> str:
    """Tables of the raters, of each judge beside them, and of the pairs, with the reasons of what is undefined."""
    sections = {**result["criteria"], "pooled": result["pooled"]}
    parts = [raters_table(sections), *(judge_table(sections, name) for name in result["pooled"]["judges"])]
    parts += [pairs_table(result["pooled"]), reasons(sections)]
    return "\n\n".join(part for part in parts if part)


def shown(statistic: dict[str, Any]) -> str:
    return "undefined" if statistic["value"] is None else str(Statistic(**statistic))


def raters_table(sections: dict[str, Any]) -> str:
    rows = [
        [name, *(str(part[key]) for key in ("items", "raters", "ratings")), *(shown(part[key]) for key in AMONG)]
        for name, part in sections.items()
    ]
    return grid(["criterion", "items", "raters", "ratings", *AMONG.values()], rows)


def judge_table(sections: dict[str, Any], name: str) -> str:
    rows = []
    for criterion, part in sections.items():
        judge = part["judges"].get(name)
        if judge:
            rows.append(
                [
                    criterion,
                    shown(judge["agreement_with_raters"]),
                    shown(judge["agreement_with_majority"]),
                    shown(judge["leave_one_out"]["judge"]),
                    shown(judge["leave_one_out"]["raters"]),
                    alternative(judge["alt_test"]),
                ]
            )
    header = ["criterion", "with raters", "with majority", "with the others", "a rater likewise", "may replace a rater"]
    return f"judge {name}\n{grid(header, rows)}"


def alternative(test: dict[str, Any]) -> str:
    rate = test["winning_rate"]["value"]
    verdict = {True: "yes", False: "no", None: "undefined"}[test["passes"]]
    return verdict if rate is None else f"{verdict}, winning rate {rate:.2f} at epsilon {test['epsilon']:g}"


def pairs_table(pooled: dict[str, Any]) -> str:
    rows = [[pair, str(kappa["n"]), shown(kappa)] for pair, kappa in pooled["cohen_kappa"].items()]
    return grid(["pair, pooled", "n", "Cohen kappa"], rows) if rows else ""


def reasons(sections: dict[str, Any]) -> str:
    found = dict.fromkeys(f"{name}: {text}" for name, part in sections.items() for text in reasons_in(part))
    return "\n".join(["undefined or without interval", *(f"  {line}" for line in found)]) if found else ""


def reasons_in(part: Any) -> Iterable[str]:
    """The reasons of the statistics that the tables show."""
    statistics = [part[key] for key in AMONG] + list(part["cohen_kappa"].values())
    for judge in part["judges"].values():
        statistics += [
            judge["agreement_with_raters"],
            judge["agreement_with_majority"],
            *judge["leave_one_out"].values(),
        ]
        statistics.append(judge["alt_test"]["winning_rate"])
    return dict.fromkeys(statistic["reason"] for statistic in statistics if statistic["reason"])


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    )
