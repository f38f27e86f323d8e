"""Chooses the library that computes the network of a predictor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch

from ddrnet.factory import trained_model
from ddrnet.files import StrPath
from ddrnet.network import DDRNet
from ddrnet.predictor.engine import BATCH_PIXELS, Engine, Precision, TorchEngine
from ddrnet.predictor.exported.description import read_sealed
from ddrnet.predictor.exported.file_engine import FileEngine
from ddrnet.predictor.exported.onnx_file import OnnxFile
from ddrnet.predictor.exported.onnx_graphs import check_packages, logits_file
from ddrnet.predictor.exported.onnx_runtime import CPU_PROVIDERS
from ddrnet.predictor.exported.runtimes import RUNTIMES

logger = logging.getLogger(__name__)

Backend = Literal["torch", "onnxruntime", "openvino"]
"""The libraries that compute the network."""


def open_engine(
    model: DDRNet | StrPath,
    backend: Backend | None = None,
    *,
    device: torch.device | str | None = None,
    precision: Precision = "float32",
    fused: bool = True,
    compile: bool = False,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
) -> Engine:
    """Return what computes the logits of a model.

    Args:
        model: A model, or whatever names one, or an exported ONNX file.
        backend: The library; by default ONNX Runtime for ONNX files, torch for everything else.
        device: For torch alone, like `precision`, `fused` and `compile`.
        precision: Of weights and activations.
        fused: Whether BatchNorm is folded.
        compile: Whether torch compiles the network.
        threads: For the other libraries alone, like `providers`: threads of one operator.
        providers: What computes; by default the CPU.

    Raises:
        ValueError: If an argument does not fit the backend or the file.
        MissingPackageError: If a package of the backend is not installed.
        ExportError: If a file cannot be read.
        Exception: The errors of loading a model.
    """
    exported = is_exported(model)
    backend = backend or ("onnxruntime" if exported else "torch")
    if backend not in get_args(Backend):
        raise ValueError(f"backend is one of {', '.join(get_args(Backend))}, got {backend!r}")
    if backend == "torch":
        if exported:
            raise ValueError(f"torch cannot run {model}: backend is onnxruntime or openvino")
        if threads is not None or providers is not None:
            raise ValueError(
                "threads and providers are for other backends; torch has one number of threads "
                "for everything, torch.set_num_threads(n), and its device"
            )
        network = model if isinstance(model, DDRNet) else trained_model(model)
        return TorchEngine(
            network, device=device, precision=precision, fused=fused, compile=compile
        )
    if (precision, fused, compile) != ("float32", True, False):
        raise ValueError(
            f"precision, fused and compile are for torch; {backend} computes as the file was "
            "exported (ddrnet export --half), or in float32"
        )
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(
            f"{backend} does not compute on torch's device {str(device)!r}: name its provider "
            "(providers=, --providers), such as CUDAExecutionProvider or GPU"
        )
    if threads is not None and threads < 1:
        raise ValueError(f"threads is a number from 1, got {threads}")
    return _graph_engine(model, backend, threads, providers)


def is_exported(model: object) -> bool:
    """Whether a model is the path of an exported ONNX file.

    Raises:
        ValueError: If it is the path of a `.pt2` file.
    """
    suffix = Path(model).suffix if isinstance(model, str | Path) else ""
    if suffix == ".pt2":
        raise ValueError(
            f"{model} is not read: loading a .pt2 file can run code in it. Export the model as "
            ".onnx, or pass its checkpoint"
        )
    return suffix == ".onnx"


def _graph_engine(
    model: DDRNet | StrPath,
    backend: Literal["onnxruntime", "openvino"],
    threads: int | None,
    providers: Sequence[str] | None,
) -> Engine:
    """Return an engine for an exported file, or for a model that is exported in memory."""
    RUNTIMES[backend].check_installed()
    if isinstance(model, str | Path) and is_exported(model):
        content, place = read_sealed(Path(model).expanduser()), str(model)
    else:
        check_packages()  # before weights are fetched
        network = model if isinstance(model, DDRNet) else trained_model(model)
        logger.info("exporting the model for %s; a file of `ddrnet export` opens faster", backend)
        content, place = logits_file(network), "the exported model"
    file = OnnxFile(
        content, place, backend=backend, threads=threads, providers=providers, logits=True
    )
    on_cpu = tuple(providers or CPU_PROVIDERS) in (CPU_PROVIDERS, ("CPU",))
    return FileEngine(file, batch_pixels=1 if on_cpu else BATCH_PIXELS)
