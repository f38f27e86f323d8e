"""Runs Python code in several processes of one torch.distributed group."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

_START = """
import sys, torch
from torch import distributed
rank, size = int(sys.argv[1]), int(sys.argv[2])
distributed.init_process_group(
    "gloo", init_method="file://" + sys.argv[3], rank=rank, world_size=size
)
"""
_END = "\ndistributed.destroy_process_group()\n"


def run_in_group(code, folder, size=2):
    """Run `code`, which knows its `rank` and `size`, and return what each process printed."""
    script = folder / "process.py"
    script.write_text(_START + textwrap.dedent(code) + _END)
    paths = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(size), str(folder / "rendezvous")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for rank in range(size)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in results]
