"""Joins the processes that `torchrun` starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)
"""How long a process waits for the others; torchrun ends all of them when one fails."""


@contextmanager
def joined(device: str | None) -> Iterator[tuple[torch.device, bool]]:
    """Join the other processes, if any, while the block runs.

    Args:
        device: The name of a device; by default the accelerator, or the CPU without one. With
            `cuda`, each of several processes takes the GPU of its local rank.

    Yields:
        The device of this process, and whether it is the first process, which alone prints.

    Raises:
        ValueError: If the device cannot be used.
    """
    from torch import cuda, distributed

    from ddrnet.predictor.engine import pick_device

    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield pick_device(device), True
        return
    if device == "cuda" or (device is None and cuda.is_available()):
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    own = pick_device(device)
    if own.type == "cuda":
        cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    first = distributed.get_rank() == 0
    if not first:
        logging.getLogger("ddrnet").setLevel(logging.ERROR)
    try:
        yield own, first
    finally:
        distributed.destroy_process_group()


def of_first(make: Callable[[], T]) -> T:
    """Return in every process what the first process makes, or raise the error that it raised."""
    from torch import distributed

    if not distributed.is_initialized():
        return make()
    made: list[T | Exception | None] = [None]
    if distributed.get_rank() == 0:
        try:
            made = [make()]
        except (OSError, ValueError) as error:
            made = [error]
    distributed.broadcast_object_list(made)
    if isinstance(made[0], Exception):
        raise made[0]
    assert made[0] is not None
    return made[0]


def share(items: Sequence[T]) -> Sequence[T]:
    """Return every n-th item for this one of n processes."""
    from torch import distributed

    if not distributed.is_initialized():
        return items
    return items[distributed.get_rank() :: distributed.get_world_size()]


def any_of_all(flag: bool) -> bool:
    """Return whether the flag is set in any process; waits for all of them.

    torchrun ends all processes when one fails, so each has to finish before any of them may fail.
    """
    from torch import distributed

    if not distributed.is_initialized():
        return flag
    flags: list[bool] = [False] * distributed.get_world_size()
    distributed.all_gather_object(flags, flag)
    return any(flags)
