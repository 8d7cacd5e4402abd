"""A sweep's results, the metrics of its run, as text for the terminal, as rows of a CSV and as a figure."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.charts import Policy, Tradeoff
from evaluation.statistics import Statistic
from evaluation.tables import grid, shown

SIMULATED = "Simulated raters: no person stands behind the rankings."

Metrics = Mapping[str, Any]


def text(name: str, metrics: Metrics) -> str:
    """A row a policy, primary criterion first, and below it the hypervolume and the operating point."""
    if "hypervolume" not in metrics:
        rows = [[weights_of(point), point["run"]] for point in metrics["points"]]
        return f"{name}: {len(rows)} policies, not evaluated\n\n{grid([weights_head(metrics), 'run'], rows)}"
    criteria = metrics["criteria"]
    head = [weights_head(metrics), *criteria, "on the front", *(f"{key} reward" for key in criteria), "run"]
    rows = [
        [
            weights_of(point),
            *(shown(point["win_rates"][key]) for key in criteria),
            f"{'yes' if point['on_front'] else 'no'} ({point['front_share']:.0%})",
            *(shown(point["rewards"][key]) for key in criteria),
            point["run"],
        ]
        for point in metrics["points"]
    ]
    base = ["base", *("0.50" for _ in criteria), "", *(shown(metrics["base"]["rewards"][key]) for key in criteria), ""]
    volume = f"hypervolume {shown(metrics['hypervolume'])} (beyond a win rate of 0 on every criterion)"
    return "\n\n".join([f"{name}: {note(metrics)}", grid(head, [*rows, base]), "\n".join([volume, *choice(metrics)])])


def note(metrics: Metrics) -> str:
    """What stands below the figure and above the table."""
    where = f"n = {metrics['prompts']} {metrics['split']} prompts"
    lines = [f"win rates over the base model, ties a half, on {where}; 95 % intervals, a bootstrap over prompts"]
    if metrics["unanswered"]:
        lines.append(f"{metrics['unanswered']} more prompts, to which not every policy responded, are left out.")
    if metrics["simulated"]:
        lines.append(SIMULATED)
    return "\n".join(lines)


def choice(metrics: Metrics) -> Iterator[str]:
    """Which policy to run, if floors were asked for."""
    if metrics["operating_point"] is None:
        return
    floors = ", ".join(f"{key} {floor:g}" for key, floor in metrics["floors"].items())
    found = metrics["operating_point"]
    if found["point"] is None:
        yield f"floor {floors}: {found['reason']}"
        return
    rates = next(point["win_rates"] for point in metrics["points"] if point["run"] == found["point"])
    yield f"floor {floors}: {found['point']}, with {', '.join(f'{key} {shown(rate)}' for key, rate in rates.items())}"
    yield "It was chosen on these prompts, which flatters it: compare it on others before you report it."


def weights_head(metrics: Metrics) -> str:
    return " / ".join(metrics["criteria"])


def weights_of(point: Mapping[str, Any]) -> str:
    return " / ".join(f"{weight:g}" for weight in point["weights"].values())


def rows(metrics: Metrics) -> list[dict[str, Any]]:
    """A row a policy, the base model last."""
    found = []
    for point in metrics["points"]:
        row: dict[str, Any] = {"run": point["run"], "system": point["system"], "on_front": point["on_front"]}
        row |= {"front_share": point["front_share"], "n": metrics["prompts"]}
        for key in metrics["criteria"]:
            row[f"{key}_weight"] = point["weights"][key]
            row |= _columns(f"{key}_win_rate", point["win_rates"][key])
            row |= _columns(f"{key}_reward", point["rewards"][key])
        found.append(row)
    base = {"run": "", "system": metrics["base"]["system"], "n": metrics["prompts"]}
    for key in metrics["criteria"]:
        base |= {f"{key}_win_rate": 0.5, **_columns(f"{key}_reward", metrics["base"]["rewards"][key])}
    return [*found, base]


def _columns(name: str, statistic: Mapping[str, Any]) -> dict[str, Any]:
    return {name: statistic["value"], f"{name}_low": statistic["low"], f"{name}_high": statistic["high"]}


def chart(metrics: Metrics, names: Mapping[str, str]) -> Tradeoff:
    """The figure; `names` of the criteria by key. With more than two a policy is named by its place in the table."""
    criteria = metrics["criteria"]
    several = len(criteria) > 2
    labelled = "numbers: rows of pareto.csv" if several else f"labels: weights of {weights_head(metrics)}"
    return Tradeoff(
        criteria=tuple(names[key] for key in criteria),
        policies=tuple(
            Policy(
                str(number) if several else weights_of(point),
                point["on_front"],
                tuple(Statistic(**point["win_rates"][key]) for key in criteria),
            )
            for number, point in enumerate(metrics["points"], start=1)
        ),
        floors=tuple(metrics["floors"].get(key) for key in criteria),
        note="\n".join([note(metrics), f"filled: on the front; {labelled}"]),
    )
