"""Runs: a folder written under a temporary name and renamed when done, and the database row that tells of it."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import prefetch_related_objects
from django.utils import timezone

from annotation.errors import InputError, StudyError
from annotation.models import Criterion, Rater, System
from training.model_card import model_card
from training.models import PreferenceDataset, Run, RunStatus
from training.sign_of_life import HEARTBEAT, SignOfLife, shows_life

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is known of a run before it begins."""

    kind: str
    config: dict[str, Any]
    name: str = ""
    stem: str = ""
    output: Path | None = None
    criterion: Criterion | None = None
    datasets: Sequence[PreferenceDataset] = ()
    files: Sequence[Path] = ()
    parents: Sequence[Run] = ()
    system: System | None = None
    rater: Rater | None = None
    resumable: bool = False

    @property
    def is_simulated(self) -> bool:
        """Whether anything of it goes back to simulated raters."""
        return any(
            [
                self.rater is not None and self.rater.simulated,
                *(dataset.is_simulated for dataset in self.datasets),
                *(parent.is_simulated or parent.environment.get("simulated", False) for parent in self.parents),
                *(_beside(file).get("simulated", False) for file in self.files),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class RunInProgress:
    """`folder` takes the artefacts; whatever is put into `metrics` ends in run.json and in the database."""

    row: Run
    folder: Path
    metrics: dict[str, Any] = field(default_factory=dict)


class DivergedError(StudyError):
    """Training went astray, and would again from its checkpoints."""


@contextmanager
def recorded_run(plan: RunPlan) -> Iterator[RunInProgress]:
    """Record what happens inside as a run. If it fails, the row says why and no file is left.

    A resumable run that was stopped, by a signal or by an error, keeps its checkpoints; the same plan again goes on
    from them.

    Raises:
        InputError: the name or the output folder is taken, or holds checkpoints of another plan.
        StudyError: what happened inside failed.
    """
    row, final, life = _row(plan)
    staging = staging_folder(final)
    started = time.monotonic()
    run = RunInProgress(row=row, folder=staging)
    with life:
        # Read before: a database that is down at the end must not cost what was made.
        prefetch_related_objects(plan.datasets, "criterion")
        # A server closes a connection that has been idle for hours; the next query opens one.
        _let_database_rest()
        try:
            yield run
            run.metrics["seconds"] = round(time.monotonic() - started, 1)
            _let_database_rest()
            _write_record(run, plan)
            staging.rename(final)
            (final / HEARTBEAT).unlink()
        except BaseException as error:
            _let_database_rest()
            told = _stop(run, plan, error)
            if told is error:
                raise
            raise told from error
    _finish(run.row, run.metrics)


def _let_database_rest() -> None:
    if not connection.in_atomic_block:
        connection.close()


def _stop(run: RunInProgress, plan: RunPlan, error: BaseException) -> BaseException:
    """Keep checkpoints to go on from, else nothing but the row; what people are told."""
    if plan.resumable and has_checkpoints(run.folder) and not isinstance(error, DivergedError):
        if not isinstance(error, Exception):
            return error
        run.row.error = one_line(error)
        run.row.save(update_fields=["error"])
        return StudyError(
            f"run {run.row.name} stopped: {run.row.error}. Its checkpoints are kept: the same command goes on from "
            f"them; to give them up remove {run.folder}"
        )
    name = run.row.name
    shutil.rmtree(run.folder, ignore_errors=True)
    _fail(run.row, error)
    if isinstance(error, StudyError) or not isinstance(error, Exception):
        return error
    return StudyError(f"run {name} failed: {one_line(error)} (--traceback shows where)")


def _finish(row: Run, metrics: dict[str, Any]) -> None:
    row.metrics, row.error = metrics, ""
    row.status, row.finished_at = RunStatus.DONE, timezone.now()
    row.save(update_fields=["metrics", "error", "status", "finished_at"])


def staging_folder(final: Path) -> Path:
    """Where a run writes until it is done."""
    return final.with_name(f".{final.name}.partial")


def has_checkpoints(staging: Path) -> bool:
    return any(staging.glob("checkpoints/checkpoint-*/trainer_state.json"))


def _row(plan: RunPlan) -> tuple[Run, Path, SignOfLife]:
    """The row, the final folder and a sign of life: those of a stopped run of the same plan, else new ones."""
    stopped = [row for row in Run.objects.filter(status=RunStatus.RUNNING, kind=plan.kind) if not is_alive(row)]
    for row in [row for row in stopped if _has_record(row)]:
        # Killed, or cut off from the database, between its last file and its row.
        _finish(row, read_record(row.folder)["metrics"])
        stopped.remove(row)
    for row in stopped:
        if _is_same(row, plan) and has_checkpoints(staging_folder(row.folder)):
            life = SignOfLife(staging_folder(row.folder))
            row.environment |= {"process": _process(), "resumed": row.environment.get("resumed", 0) + 1}
            row.save(update_fields=["environment"])
            return row, row.folder, life
    name = plan.name or f"{plan.stem or plan.kind}-{timezone.now():%Y%m%d-%H%M%S}"
    final = (plan.output or Path(settings.VAR_DIR) / "runs" / name).resolve()
    for row in stopped:
        if row.name == name or row.folder == final:
            _let_go(row)
    _require_free(name, final)
    (staging := staging_folder(final)).mkdir(parents=True)
    # Before the row is seen by others: one without a sign of life is dead.
    life = SignOfLife(staging)
    try:
        return _start(plan, name, final), final, life
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _has_record(row: Run) -> bool:
    return (row.folder / "run.json").is_file() and read_record(row.folder)["name"] == row.name


def _is_same(row: Run, plan: RunPlan) -> bool:
    """Whether a run has the settings and the data of a plan, and the name and folder if the plan has them."""
    return (
        row.config == json.loads(json.dumps(plan.config))
        and row.environment.get("inputs") == _inputs(plan)
        and plan.name in {"", row.name}
        and (plan.output is None or plan.output.resolve() == row.folder)
    )


def _inputs(plan: RunPlan) -> list[str]:
    """What identifies the data: hashes of data sets and files, names of runs."""
    return [
        *(dataset.content_hash for dataset in plan.datasets),
        *(file_hash(file) for file in plan.files),
        *(parent.name for parent in plan.parents),
    ]


def _let_go(row: Run) -> None:
    """Free the name and folder of a run whose process was killed.

    Raises:
        InputError: it left checkpoints, which nobody may lose by a slip in an option.
    """
    staging = staging_folder(row.folder)
    if has_checkpoints(staging):
        raise InputError(
            f"run {row.name} was stopped and has checkpoints, but of other settings or data: repeat those to go on, "
            f"choose another --name, or remove {staging}"
        )
    shutil.rmtree(staging, ignore_errors=True)
    _fail(row, StudyError("killed"))


def is_alive(row: Run) -> bool:
    """Whether the process of an unfinished run still works."""
    return shows_life(staging_folder(row.folder), row.environment.get("process", {}).get("host"))


def _require_free(name: str, folder: Path) -> None:
    if Run.objects.filter(name=name).exists():
        raise InputError(f"run {name} exists: runs are never overwritten, choose another --name")
    if folder.exists():
        raise InputError(f"{folder} exists: runs are never overwritten, choose another --output or remove it")
    staging = staging_folder(folder)
    # What other processes wrote after the first one had failed and cleared up is nobody's.
    if staging.exists() and not (staging / HEARTBEAT).exists() and not has_checkpoints(staging):
        shutil.rmtree(staging)
    if staging.exists():
        raise InputError(f"{staging} is of a run that this site does not know or that is at work: remove it if not")


def _start(plan: RunPlan, name: str, folder: Path) -> Run:
    var = Path(settings.VAR_DIR)
    with transaction.atomic():
        if plan.system and plan.system._state.adding:
            plan.system.save()
        row = Run.objects.create(
            name=name,
            kind=plan.kind,
            config=plan.config,
            environment=_environment(plan),
            path=str(folder.relative_to(var) if folder.is_relative_to(var) else folder),
            criterion=plan.criterion,
            system=plan.system,
            rater=plan.rater,
        )
        row.datasets.set(plan.datasets)
        row.parents.set(plan.parents)
    return row


def _fail(row: Run, error: BaseException) -> None:
    """Keep the failure, and free the name for the next try."""
    row.name, row.status = f"{row.name[:100]}-failed-{row.pk}", RunStatus.FAILED
    row.error = "interrupted" if isinstance(error, KeyboardInterrupt) else one_line(error)
    row.finished_at = timezone.now()
    row.save(update_fields=["name", "status", "error", "finished_at"])


def one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _write_record(run: RunInProgress, plan: RunPlan) -> None:
    """run.json, all that is needed to tell, and to repeat, how the folder came about; README.md tells people."""
    record = {
        "name": run.row.name,
        "kind": run.row.kind,
        "criterion": plan.config.get("criterion"),
        # In the plan's order, which PostgreSQL loses; a search of settings puts what it found into the row.
        "config": {**plan.config, **run.row.config},
        "environment": run.row.environment,
        "simulated": run.row.environment["simulated"],
        "datasets": [{"criterion": d.criterion.key, "sha256": d.content_hash, "path": d.path} for d in plan.datasets],
        "files": [{"path": str(file), "sha256": file_hash(file)} for file in plan.files],
        "parents": [parent.name for parent in plan.parents],
        "metrics": run.metrics,
        "started_at": run.row.started_at.isoformat(),
        "finished_at": timezone.now().isoformat(),
    }
    (run.folder / "run.json").write_text(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    (run.folder / "README.md").write_text(model_card(record), encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """The run.json of a finished run.

    Raises:
        InputError: there is none.
    """
    file = folder / "run.json"
    if not file.is_file():
        raise InputError(f"{folder} holds no run.json: it is not the folder of a finished run")
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def finished_run(name: str, *kinds: str) -> Run:
    """The finished run of that name and of one of these kinds.

    Raises:
        InputError: there is none, or its folder is gone.
    """
    run = Run.objects.filter(name=name, kind__in=kinds).first()
    if run is None:
        known = ", ".join(Run.objects.filter(kind__in=kinds, status=RunStatus.DONE).values_list("name", flat=True))
        raise InputError(
            f"run {name}: there is no such run of kind {' or '.join(kinds)} (there are: {known or 'none'})"
        )
    if run.status != RunStatus.DONE:
        raise InputError(f"run {name} is {run.status}: only a finished run can be used")
    if not run.folder.is_dir():
        raise InputError(f"run {name}: its folder {run.folder} is gone")
    return run


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values, paths as text."""
    values = dataclasses.asdict(config)
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _beside(file: Path) -> dict[str, Any]:
    """What an export or a run wrote about the folder that a file is in."""
    record = next(
        (file.parent / name for name in ("manifest.json", "run.json") if (file.parent / name).is_file()), None
    )
    content = json.loads(record.read_text()) if record else {}
    return content if isinstance(content, dict) else {}


def _environment(plan: RunPlan) -> dict[str, Any]:
    return {
        "git_commit": _git_commit(),
        "seed": plan.config.get("seed"),
        "simulated": plan.is_simulated,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "inputs": _inputs(plan),
        "process": _process(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _git_commit() -> str | None:
    command = ["git", "-C", str(settings.BASE_DIR), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
