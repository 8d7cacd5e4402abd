"""What the admin's pages of a run, and of two runs side by side, show: the JSON of a record as readable rows.

PostgreSQL keeps no order of keys, so that rows are put in order here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from training.curves import Chart, overlaid_charts, run_charts, updates_a_point, window
from training.lineage import Step, provenance, record_of
from training.models import Run, RunStatus
from training.reproduction import command_of, options_of
from training.runs import has_checkpoints, is_alive, staging_folder

# The figure that sums a run up, by where it stands in the metrics; the first that is there.
HEADLINES = {
    "accuracy": "held-out accuracy",
    "held_out_preference": "held-out accuracy",
    "hypervolume": "hypervolume",
    "stored": "responses",
}
LABELS = {
    "accuracy": "held-out accuracy",
    "held_out_preference": "held-out accuracy",
    "held_out_implicit_margin": "held-out margin of the policy's own reward",
}
# Drawn as charts; of older runs, whose curves had another shape, not shown.
CURVES = {"curves", "loss_curve", "eval_loss"}
# Shown elsewhere on the page.
NOT_ENVIRONMENT = {"inputs", "simulated", "process"}
FILES_SHOWN = 100
# Significant digits of settings, which are typed, not measured.
EXACT = 12


@dataclass(frozen=True)
class Shown:
    """A value as text, and in small what it rests on."""

    text: str
    small: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.small})" if self.small else self.text


@dataclass(frozen=True)
class Row:
    name: str
    value: Shown
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """A list of like records, such as a learning curve or the points of a sweep."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[Shown]]


@dataclass(frozen=True)
class Pair:
    """A setting or a result of two runs."""

    name: str
    first: Shown
    second: Shown


@dataclass(frozen=True)
class Difference:
    """Rows in which two runs differ, and those in which they are alike."""

    differing: Sequence[Pair]
    equal: Sequence[Pair]


@dataclass(frozen=True)
class RunPage:
    run: Run
    state: str
    headline: Row | None
    step: Step
    charts: Sequence[Chart]
    note: str
    results: Sequence[Row]
    tables: Sequence[Table]
    settings: Sequence[Row]
    environment: Sequence[Row]
    files: Sequence[tuple[str, int]]
    command: Sequence[str]
    progress: Mapping[str, Any]

    @property
    def took(self) -> str:
        return duration(self.run.started_at, self.run.finished_at)


@dataclass(frozen=True)
class Comparison:
    runs: Sequence["Compared"]
    charts: Sequence[Chart]
    settings: Difference
    results: Sequence[Pair]
    origins: Difference


@dataclass(frozen=True)
class Compared:
    """One of two runs, A or B."""

    letter: str
    run: Run
    state: str
    step: Step
    note: str

    @property
    def took(self) -> str:
        return duration(self.run.started_at, self.run.finished_at)


def page_of(run: Run) -> RunPage:
    record = record_of(run)
    meanings = {name: (option.help or "").replace("%%", "%") for name, option in options_of(run.kind).items()}
    metrics = metrics_of(run)
    losses = curves_of(run).get("loss")
    return RunPage(
        run=run,
        state=state_of(run),
        headline=headline(run.metrics, losses[-1][1] if losses else None),
        step=provenance(run),
        charts=run_charts(curves_of(run)),
        note=curve_note(run),
        results=[Row(name, shown(value)) for name, value in flat(metrics) if not is_table(value)],
        tables=[table(name, value) for name, value in flat(metrics) if is_table(value)],
        settings=[
            Row(label(name), shown(value, EXACT), meanings.get(name, ""))
            for name, value in flat(settings_of(run), names=str)
        ],
        environment=[Row(name, shown(value)) for name, value in flat(environment_of(run))],
        files=files_of(run),
        command=command_of(run, record),
        progress=progress_of(run),
    )


def comparison_of(first: Run, second: Run) -> Comparison:
    steps = [provenance(first), provenance(second)]
    notes = [curve_note(first), curve_note(second)]
    return Comparison(
        runs=[
            Compared(letter, run, state_of(run), step, note)
            for letter, run, step, note in zip("AB", (first, second), steps, notes, strict=True)
        ],
        charts=overlaid_charts(curves_of(first), curves_of(second)),
        settings=difference(settings_of(first), settings_of(second)),
        results=pairs(metrics_of(first), metrics_of(second)),
        origins=difference(*(origin(step) for step in steps)),
    )


def state_of(run: Run) -> str:
    """The status in words; one whose process is gone has stopped, whatever its row still says."""
    if run.status == RunStatus.RUNNING and not is_alive(run):
        return "Stopped"
    return run.get_status_display()


def headline(metrics: Mapping[str, Any], final_loss: float | None) -> Row | None:
    """The figure that sums a run up: held-out accuracy, or else the final loss."""
    for name, text in HEADLINES.items():
        value = metrics.get(name)
        if isinstance(value, dict) and not is_statistic(value):
            value = ", ".join(f"{label(key)} {shown(item).text}" for key, item in sorted(value.items()))
        if value is not None:
            return Row(text, shown(value))
    return Row("final loss", shown(final_loss)) if final_loss is not None else None


def metrics_of(run: Run) -> dict[str, Any]:
    """All but the curves, what was measured on held-out data first."""
    metrics = {name: value for name, value in run.metrics.items() if name not in CURVES}
    return dict(sorted(metrics.items(), key=lambda item: (not is_statistic(item[1]), item[0])))


def settings_of(run: Run) -> dict[str, Any]:
    """The config in the order of its command's options, after what the command was not told."""
    places = {name: place for place, option in enumerate(options_of(run.kind)) for name in (option, f"{option}s")}
    return dict(sorted(run.config.items(), key=lambda item: (places.get(item[0], -1), item[0])))


def curves_of(run: Run) -> Mapping[str, Any]:
    curves: Mapping[str, Any] = run.metrics.get("curves", {})
    return curves


def curve_note(run: Run) -> str:
    """What the curves rest on, for the caption."""
    points = curves_of(run).get("loss", [])
    if not points:
        return ""
    trained, held_out = (
        run.metrics.get("train_pairs"),
        run.metrics.get("held_out_preference") or run.metrics.get("accuracy"),
    )
    parts = [f"{points[-1][0]:,.0f} updates"]
    if trained is not None:
        parts[0] += f" on {trained:,} training pairs"
    if is_statistic(held_out):
        parts.append(f"{held_out['n']:,} pairs held out")
    if (width := window(points) * updates_a_point(points)) > 1:
        parts.append(f"training as means over {width} updates")
    return "; ".join(parts)


def progress_of(run: Run) -> Mapping[str, Any]:
    """How far an unfinished run is, by its last checkpoint: step, of, loss. Nothing where there is none."""
    if run.status != RunStatus.RUNNING or not run.path:
        return {}
    staging = staging_folder(run.folder)
    states = sorted(staging.glob("checkpoints/checkpoint-*/trainer_state.json"), key=_step_of)
    try:
        state = json.loads(states[-1].read_text(encoding="utf-8")) if states else {}
    except (OSError, ValueError):
        # It is being written, or was just replaced by the next.
        state = {}
    losses = [entry["loss"] for entry in state.get("log_history", []) if "loss" in entry]
    progress = {"step": state.get("global_step"), "of": state.get("max_steps"), "loss": losses[-1] if losses else None}
    return {"resumable": has_checkpoints(staging), **(progress if state else {})}


def _step_of(state: Path) -> int:
    return int(state.parent.name.rpartition("-")[2])


def environment_of(run: Run) -> dict[str, Any]:
    """Where and with what it ran."""
    values = {name: value for name, value in sorted(run.environment.items()) if name not in NOT_ENVIRONMENT}
    if commit := values.get("git_commit"):
        values["git_commit"] = commit[:12]
    if host := run.environment.get("process", {}).get("host"):
        values["host"] = host
    return values


def files_of(run: Run) -> list[tuple[str, int]]:
    """Names and bytes of the run's files, those of checkpoints left out."""
    if not run.path or not run.folder.is_dir():
        return []
    found = [path for path in sorted(run.folder.rglob("*")) if path.is_file()]
    return [(str(path.relative_to(run.folder)), path.stat().st_size) for path in found[:FILES_SHOWN]]


def duration(start: datetime, end: datetime | None) -> str:
    """1 h 05 min, 8 min 12 s, 4.2 s; until now where there is no end."""
    seconds = max(timedelta(), (end or timezone.now()) - start).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def flat(values: Mapping[str, Any], *, names: Any = label, before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, dicts within as `outer: inner`. Statistics are values."""
    for name, value in values.items():
        full = f"{before}{names(name)}"
        if isinstance(value, dict) and not is_statistic(value):
            yield from flat(dict(sorted(value.items())), names=names, before=f"{full}: ")
        else:
            yield full, value


def is_statistic(value: Any) -> bool:
    return isinstance(value, dict) and {"value", "n"} <= value.keys()


def is_table(value: Any) -> bool:
    """Whether it is a list of records, or of points."""
    kinds = {type(item) for item in value} if isinstance(value, list) else set()
    return kinds in ({dict}, {list})


def table(name: str, records: Sequence[Any]) -> Table:
    """Columns with statistics last; points have no head."""
    named = all(isinstance(record, dict) for record in records)
    rows = [dict(flat(record if named else {f"{i:03}": value for i, value in enumerate(record)})) for record in records]
    measured = {name for row in rows for name, value in row.items() if is_statistic(value)}
    columns = sorted({name for row in rows for name in row}, key=lambda name: (name in measured, name))
    cells = [[shown(row[name]) if name in row else Shown("") for name in columns] for row in rows]
    return Table(name, columns if named else [], cells)


def shown(value: Any, digits: int = 4) -> Shown:
    """A value of JSON as people read it, with that many significant digits."""
    if is_statistic(value):
        return statistic(value)
    if isinstance(value, bool):
        return Shown("yes" if value else "no")
    if isinstance(value, float):
        return Shown(f"{value:.{digits}g}" if abs(value) < 10_000 else f"{value:,.0f}")
    if isinstance(value, int):
        return Shown(f"{value:,}")
    if isinstance(value, list):
        return Shown(", ".join(str(shown(item, digits)) for item in value) or "none")
    return Shown("not set" if value is None or value == "" else str(value))


def statistic(value: Mapping[str, Any]) -> Shown:
    """0.63 [0.51, 0.74] and its n; the reason where it is undefined."""
    if value["value"] is None:
        return Shown("undefined", str(value.get("reason") or ""))
    interval = "" if value.get("low") is None else f" [{value['low']:z.2f}, {value['high']:z.2f}]"
    prompts = f" of {value['prompts']:,} prompts" if "prompts" in value else ""
    return Shown(f"{value['value']:z.2f}{interval}", f"n {value['n']:,}{prompts}")


MISSING = Shown("absent")


def pairs(first: Mapping[str, Any], second: Mapping[str, Any], digits: int = 4) -> list[Pair]:
    """Each value of either, tables left out, in the order of the first."""
    left, right = dict(flat(first)), dict(flat(second))
    return [
        Pair(name, *(shown(side[name], digits) if name in side else MISSING for side in (left, right)))
        for name in {**left, **right}
        if not is_table(left.get(name)) and not is_table(right.get(name))
    ]


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    rows = pairs(first, second, EXACT)
    return Difference(
        [row for row in rows if row.first != row.second], [row for row in rows if row.first == row.second]
    )


def origin(step: Step) -> dict[str, Any]:
    """What tells where a run's weights come from, for a comparison: data, parents, code, libraries."""
    return {
        "data sets": [str(source.dataset) for source in step.sources],
        "files": [file["sha256"][:8] for file in step.files],
        "made from runs": [parent.run.name for parent in step.parents],
        **{name: value for name, value in environment_of(step.run).items() if name != "seed"},
    }
