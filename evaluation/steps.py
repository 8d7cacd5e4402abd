"""A long procedure as steps: each is a management command that anyone could type, and is passed over when its result is
there, so that a procedure that was stopped goes on where it was and a finished one takes seconds."""

import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.management import call_command

from training.models import Run, RunStatus


@dataclass(frozen=True, kw_only=True)
class Step:
    name: str
    is_done: Callable[[], bool]
    command: tuple[str, ...]


@dataclass
class Procedure:
    """Carries out steps. `say` gets a line of progress; `seconds`, how long each step took, is kept in the folder."""

    say: Callable[[str], None]
    folder: Path
    seconds: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seconds = self.kept("seconds.json")

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Do what is left to do. A step is asked whether it is done only when its turn has come."""
        for step in steps:
            if not step.is_done():
                self.timed(step.name, *step.command)

    def timed(self, name: str, *command: str) -> None:
        self.say(f"== {name}")
        began = time.monotonic()
        call_command(*command, stdout=io.StringIO())
        # Another process may have kept its own meanwhile.
        self.seconds |= self.kept("seconds.json")
        # The first time counts: later ones find the work done.
        self.seconds.setdefault(name, round(time.monotonic() - began, 1))
        self.keep("seconds.json", self.seconds)

    def kept(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else {}

    def keep(self, name: str, value: dict[str, Any]) -> None:
        partial = self.folder / f"{name}.partial"
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
        partial.replace(self.folder / name)


def run_done(name: str) -> bool:
    return Run.objects.filter(name=name, status=RunStatus.DONE).exists()


def command_json(*command: str) -> dict[str, Any]:
    """What a command prints with --json."""
    out = io.StringIO()
    call_command(*command, "--json", stdout=out)
    result: dict[str, Any] = json.loads(out.getvalue())
    return result
