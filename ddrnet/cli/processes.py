"""Joins the processes that `torchrun` starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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

    from ddrnet.predictor.pipeline import pick_device

    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield pick_device(device), True
        return
    if device == "cuda" or (device is None and cuda.is_available()):
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    own = pick_device(device)
    if own.type == "cuda":
        cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    first = distributed.get_rank() == 0
    if not first:
        logging.getLogger("ddrnet").setLevel(logging.ERROR)
    try:
        yield own, first
    finally:
        distributed.destroy_process_group()
