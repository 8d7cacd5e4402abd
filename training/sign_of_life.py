"""Whether the process that writes into a folder still works."""

import fcntl
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from annotation.errors import InputError

HEARTBEAT = "heartbeat"
HEARTBEAT_SECONDS = 30
# Seconds after which a process on another machine counts as gone.
SILENCE = 600


class SignOfLife:
    """A file in the folder that its process keeps locked, which the kernel undoes when it ends, however it ends.

    For other machines, and file systems without locks, its time is renewed too.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            InputError: another process holds it.
        """
        self.path = folder / HEARTBEAT
        self.file = self.path.open("a")
        self.path.touch()
        self.over = threading.Event()
        for _ in range(20):
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Whoever asks whether it is alive locks it for a moment.
                time.sleep(0.01)
            except OSError:
                return  # No locks here.
            else:
                return
        self.file.close()
        raise InputError(f"{folder} is of a run that another process works at: let it finish")

    def __enter__(self) -> None:
        threading.Thread(target=self._beat, daemon=True).start()

    def __exit__(self, *args: object) -> None:
        self.over.set()
        self.file.close()

    def _beat(self) -> None:
        while not self.over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self.path)


def shows_life(folder: Path, host: str | None) -> bool:
    """Whether the folder's process, which runs on that host, holds its file; where that cannot be seen, renews it."""
    path = folder / HEARTBEAT
    if not path.is_file():
        return False
    is_fresh = time.time() - path.stat().st_mtime < SILENCE
    if host != socket.gethostname():
        return is_fresh
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return is_fresh
    return False
