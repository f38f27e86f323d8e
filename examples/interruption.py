"""How a run is asked to stop, and how it is gone on with."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from typing import Any

import torch
from torch import distributed

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Tells whether Ctrl-C or a termination reached any process; a second one ends at once.

    Processes agree on the CPU, so that no accelerator is waited for. Create it in all of them.
    """

    def __init__(self) -> None:
        self._asked = False
        joined = distributed.is_available() and distributed.is_initialized()
        self._group = distributed.new_group(backend="gloo") if joined else None
        for number in _SIGNALS:
            signal.signal(number, self._remember)

    def __call__(self) -> bool:
        """Whether to stop; all processes get the same answer if all ask after the same step."""
        asked = torch.tensor(int(self._asked))
        if self._group is not None:
            distributed.all_reduce(asked, distributed.ReduceOp.MAX, group=self._group)
        return bool(asked)

    def _remember(self, number: int, frame: Any) -> None:
        self._asked = True
        if os.environ.get("RANK", "0") == "0":  # no print: the signal may come inside one
            os.write(2, b"\nsaving after this step; again to stop at once\n")
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)


def go_on_command(folder: str) -> str:
    """Return the command that resumes the run in `folder` with as many processes."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    launcher = ["python"] if processes == "1" else ["torchrun", "--nproc-per-node", processes]
    return shlex.join([*launcher, sys.argv[0], "--resume", folder])
