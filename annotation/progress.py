"""Progress on stderr: a bar with rate and ETA on a terminal, elsewhere a line now and then."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm


class _Lines:
    """A file that is no terminal: what would redraw the bar begins a new line."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, text: str) -> None:
        self.file.write(text.replace("\r", "\n"))

    def flush(self) -> None:
        self.file.flush()


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    label: str = "",
    file: TextIO | None = None,
) -> "tqdm[Any]":
    """A tqdm over the items, or one to be updated by hand."""
    file = file or sys.stderr
    if file.isatty():
        return tqdm(items, total=total, initial=initial, desc=label, file=file, mininterval=0.2, ncols=88)
    layout = "{desc}: {n_fmt}/{total_fmt} {rate_fmt}{postfix}, {elapsed} done, {remaining} left"
    lines = _Lines(file)
    return tqdm(items, total=total, initial=initial, desc=label, file=lines, mininterval=15, bar_format=layout)
