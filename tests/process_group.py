"""Runs Python code in several processes of one torch.distributed group."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

_START = """
import sys, torch
from torch import distributed
rank, size = int(sys.argv[1]), int(sys.argv[2])
distributed.init_process_group(
    "gloo", init_method="file://" + sys.argv[3], rank=rank, world_size=size
)
"""
_FILES = ("out", "err")
_END = "\ndistributed.destroy_process_group()\n"


def run_in_group(code, folder, size=2):
    """Run `code`, which knows its `rank` and `size`, and return what each process printed."""
    script = folder / "process.py"
    script.write_text(_START + textwrap.dedent(code) + _END)
    paths = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(size):
        command = [sys.executable, script, str(rank), str(size), str(folder / "rendezvous")]
        with (folder / f"out{rank}").open("w") as out, (folder / f"err{rank}").open("w") as err:
            processes.append(subprocess.Popen(command, stdout=out, stderr=err, env=env))
    try:
        _wait(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    out, err = ([(folder / f"{name}{rank}").read_text() for rank in range(size)] for name in _FILES)
    assert [process.returncode for process in processes] == [0] * size, "\n".join(err)
    return out


def free_port():
    """Return a port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(processes, seconds=300):
    """Wait until all have ended or one has failed: the others would wait for it forever."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        codes = [process.poll() for process in processes]
        if None not in codes or any(codes):
            return
        time.sleep(0.05)
