"""Several processes on one training, as torchrun or accelerate start them.

The first process alone talks to the database and to people, and hands each training to the others; all of them train.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

# The first process may score many responses before the others have anything to do.
PATIENCE = timedelta(hours=6)


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_follower() -> bool:
    """Whether this process only follows the first one."""
    return int(os.environ.get("RANK", "0")) > 0


@contextmanager
def leading() -> Iterator[None]:
    """The first process's part: whatever happens inside, the others are told when there is no more to train."""
    try:
        yield
    finally:
        if processes() > 1:
            _share(None)


def train_together(task: Any, place: Any) -> dict[str, Any]:
    """Train here and, where there are several processes, on all of them; the metrics."""
    from training.policy import train_policy

    if processes() > 1:
        _share((task, place))
    return train_policy(task, place)


def follow() -> None:
    """A follower's whole life: train what the first process hands out until there is no more."""
    from training.policy import train_policy

    while (work := _share(None)) is not None:
        train_policy(*work)


def _share(value: Any) -> Any:
    """The first process's value, in every process."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return broadcast_object_list([value])[0]
