"""Shared by the benchmarks: conditions, timing in turns, and the memory of a fresh process."""

import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def print_conditions(*modules):
    """Print the device, the threads and the versions of torch and `modules`."""
    versions = [f"{module.__name__} {module.__version__}" for module in (torch, *modules)]
    print(
        f"{processor()}, {torch.get_num_threads()} threads, {platform.system()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def medians(ways, repeats):
    """Call the functions of `ways` in turn, `repeats` times; return {name: median seconds}."""
    for way in ways.values():
        way()
    seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def own_peak_mib():
    """Return the peak memory of this process so far, in MiB."""
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def peak_mib(script, *arguments):
    """Run `script`, which prints its `own_peak_mib`, in a fresh process; return the number."""
    # Linux hands the peak of the parent on to the child; a shell in between has a small one.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, script, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
