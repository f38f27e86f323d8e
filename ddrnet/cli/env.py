"""`ddrnet env`: versions, devices, threads and caches, as one block for a bug report."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from ddrnet import __version__, registry
from ddrnet.benchmark.machine import memory_size, processor_name, usable_cores
from ddrnet.cli.report import printable
from ddrnet.cli.table import aligned

GIB = 1 << 30

_SHOWN = (
    "CUDA_VISIBLE_DEVICES",
    "DDRNET_HUB_ORG",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TQDM_DISABLE",
)
"""Variables whose values change what this library does, and are no secrets."""

_ADDRESSES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY")
"""Variables with addresses, which can hold a password."""

_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables that are never shown; a report needs to tell only whether they are set."""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "env",
        help="print versions, devices and caches for a bug report",
        description="Print versions, devices, threads and caches as one block to paste into a bug "
        "report. The home folder is shown as ~. Tokens and passwords are not shown.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the block."""
    rows = [*_system(), *_packages(), *_torch(), *_onnxruntime(), *_caches(), *_environment()]
    first, *others = [(name, printable(_without_home(value))) for name, value in rows]
    print(aligned(first, others))
    return 0


def _system() -> Iterator[tuple[str, str]]:
    yield "ddrnet", f"{__version__}, {Path(__file__).parent.parent}"
    yield "Python", f"{platform.python_version()}, {sys.executable}"
    yield "system", platform.platform()
    memory = memory_size()
    size = "" if memory is None else f", {memory / GIB:.1f} GiB of memory"
    yield "processor", f"{processor_name() or 'unknown'}, {usable_cores()} cores{size}"


def _packages() -> Iterator[tuple[str, str]]:
    """Yield the installed version of everything that this package and its extras declare."""
    try:
        lines = metadata.requires("ddrnet") or []
    except metadata.PackageNotFoundError:  # imported from a checkout that is not installed
        yield "packages", "unknown: ddrnet is not installed"
        return
    users = [line for line in lines if not re.search(r"extra == ['\"](dev|docs)['\"]", line)]
    for name in sorted({re.split(r"[^\w.-]", line)[0].lower() for line in users}):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def _torch() -> Iterator[tuple[str, str]]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of it is missing or broken
        yield "torch", f"cannot be imported: {' '.join(str(error).split())}"
        return
    cudnn: Any = torch.backends.cudnn  # its functions have no types
    yield "torch built for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        about = f"{gpu.total_memory / GIB:.1f} GiB, compute capability {gpu.major}.{gpu.minor}"
        yield f"cuda:{index}", f"{gpu.name}, {about}, cuDNN {cudnn.version()}"
    if torch.backends.mps.is_available():
        yield "mps", "available"
    yield "cpu", f"{torch.backends.cpu.get_cpu_capability()} instructions"
    yield "threads", f"{torch.get_num_threads()}, {torch.get_num_interop_threads()} between steps"


def _onnxruntime() -> Iterator[tuple[str, str]]:
    try:
        import onnxruntime
    except (ImportError, OSError):  # the extra is not installed, which the packages show
        return
    yield "ONNX Runtime", ", ".join(onnxruntime.get_available_providers())


def _caches() -> Iterator[tuple[str, str]]:
    from huggingface_hub import constants

    from ddrnet.pretrained.inventory import find_cached

    rows = map(registry.get_weights, registry.list_models(pretrained=True))
    cached = [row.name for row in rows if row.packaged is None and find_cached(row)]
    yield "weights cache", f"{constants.HF_ASSETS_CACHE}, {', '.join(cached) or 'empty'}"
    yield "Hub cache", constants.HF_HUB_CACHE


def _environment() -> Iterator[tuple[str, str]]:
    for name in _SHOWN:
        if name in os.environ:
            yield name, os.environ[name]
    for name in _ADDRESSES:
        if name in os.environ:
            yield name, _host(os.environ[name])
    for name in _SECRETS:
        if name in os.environ:
            yield name, "set, not shown"


def _host(address: str) -> str:
    """Return host and port of an address, without the user, password, path and query in it."""
    return re.split(r"[/?#]", address.rpartition("@")[2].rpartition("//")[2])[0]


def _without_home(text: str) -> str:
    """Return a text in which the home folder, whose name may be a person's, is `~`."""
    home = re.escape(os.path.expanduser("~"))
    return re.sub(rf"{home}(?![\w.-])", "~", text)
