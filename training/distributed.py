"""Several processes on one training, as torchrun or accelerate start them.

The first process alone talks to the database and to people, and hands each training to the others; all of them train.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from annotation.errors import InputError

# The first process may score many responses before the others have anything to do.
PATIENCE = timedelta(hours=6)


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_follower() -> bool:
    """Whether this process only follows the first one."""
    return int(os.environ.get("RANK", "0")) > 0


def require_launch(*, four_bit: bool) -> None:
    """Refuse what accelerate would do to the weights, where training could not go along with it.

    Raises:
        InputError: FSDP is to shard weights of 4 bits, or to leave all processes but the first without weights.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return
    if four_bit:
        raise InputError(
            "FSDP cannot shard weights of 4 bits: add --no-four-bit, or launch without FSDP, a copy of 4 GB on each GPU"
        )
    if os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false").lower() == "true":
        raise InputError(
            "set fsdp_cpu_ram_efficient_loading to false: all processes need the weights, for the reference's "
            "log-probabilities"
        )


@dataclass
class Others:
    """What the other processes do: `train`, or wait to be told."""

    train: bool = False


_others = Others()


@contextmanager
def leading() -> Iterator[None]:
    """The first process's part: whatever happens inside, the others are told when there is no more to train.

    But not where training broke off: they are in the midst of it and would not hear. The launcher ends them once this
    process has ended.
    """
    _others.train = False
    try:
        yield
    finally:
        if processes() > 1 and not _others.train:
            _share(None)


def train_together(task: Any, place: Any) -> dict[str, Any]:
    """Train here and, where there are several processes, on all of them; the metrics."""
    from training.policy import train_policy

    if processes() > 1:
        _share((task, place))
    _others.train = True
    metrics = train_policy(task, place)
    _others.train = False
    return metrics


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
