"""Peak memory of one pipeline, in a process of its own.

`python -m ddrnet.benchmark.peak_memory ARGUMENTS` is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from ddrnet.benchmark.pipelines import Way
from ddrnet.benchmark.subject import Subject
from ddrnet.errors import DDRNetError

MIB = 1 << 20

_STATUS = Path("/proc/self/status")
"""Linux tells here how much memory a process has had at most."""


def peak_mib(
    subject: Subject, way: Way, image: Path, device: torch.device, threads: int
) -> float | None:
    """Return the memory that a fresh process needs to segment an image file twice, in MiB.

    On a CPU it is the most that the process has held, less what it held after its imports. On CUDA
    it is the most that torch has allocated on the device.

    Returns:
        The peak, or None where neither can be measured: on a CPU without Linux, or on other
        devices.

    Raises:
        DDRNetError: If the process fails.
    """
    if device.type != "cuda" and (device.type != "cpu" or not _STATUS.exists()):
        return None
    arguments = json.dumps([subject, way, str(image), str(device), threads])
    command = [sys.executable, "-m", "ddrnet.benchmark.peak_memory", arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise DDRNetError(f"the process that measures memory failed ({done.returncode}): {last}")
    return float(done.stdout.split()[-1])


def _measure(arguments: str) -> float:
    """Segment an image twice in this process; return its peak in MiB."""
    subject, way, image, device_name, threads = json.loads(arguments)
    device = torch.device(device_name)
    torch.set_num_threads(threads)
    before = _high_water_mark()
    pipeline = Way(*way).pipeline(Subject(*subject).load(), device)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            pipeline.segment(Path(image), Path(folder, "labels.png"))
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    return _high_water_mark() - before


def _high_water_mark() -> float:
    """Return the most memory that this process has held, in MiB."""
    line = next(row for row in _STATUS.read_text().splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MIB


if __name__ == "__main__":
    print(_measure(sys.argv[1]))
