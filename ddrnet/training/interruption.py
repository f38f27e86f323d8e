"""Stops a run on request, and prints the command that continues it."""

from __future__ import annotations

import os
import shlex
import signal
from typing import Any

import torch
from torch import distributed

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether Ctrl-C or SIGTERM reached any process; a second signal ends the process at once.

    Every process enters this context manager; leaving it restores the former signal handlers.
    Processes agree on the CPU, so that none waits for its accelerator.
    """

    def __enter__(self) -> Interruption:
        self._asked = False
        joined = distributed.is_available() and distributed.is_initialized()
        self._group: Any = distributed.new_group(backend="gloo") if joined else None
        self._former = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Return whether to stop: the same in all processes if all ask after the same step."""
        asked = torch.tensor(int(self._asked))
        if self._group is not None:
            distributed.all_reduce(asked, distributed.ReduceOp.MAX, self._group)
        return bool(asked)

    def _remember(self, number: int, frame: Any) -> None:
        self._asked = True
        if os.environ.get("RANK", "0") == "0":
            # The signal may arrive inside a print, which must not be entered twice.
            os.write(2, b"\nsaving after this step; again to stop at once\n")
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)


def resume_command(folder: str) -> str:
    """Return the command that continues the run in `folder` with as many processes."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    launcher = ["ddrnet"]
    if processes != "1":
        launcher = ["torchrun", "--nproc-per-node", processes, "-m", "ddrnet"]
    return shlex.join([*launcher, "train", "--resume", folder])
