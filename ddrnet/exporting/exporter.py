"""Exports a model: traced, converted, and compared with the model before the file appears."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from ddrnet import __version__
from ddrnet.exporting.compact import halve_weights
from ddrnet.exporting.verification import Difference, Run, compare
from ddrnet.factory import trained_model
from ddrnet.files import StrPath, write_atomically
from ddrnet.labels import MAX_CLASSES
from ddrnet.network import MIN_SIZE, DDRNet
from ddrnet.predictor.exported.description import Description, Output, StoredPrecision
from ddrnet.predictor.exported.graphs import ImageGraph, trace
from ddrnet.predictor.exported.onnx_file import OnnxFile
from ddrnet.predictor.exported.onnx_graphs import check_packages, file_content, to_onnx

SUFFIXES = (".onnx", ".pt2")

METADATA = "ddrnet.json"
"""Name of the metadata among the extra files of a `.pt2` file."""


def export(
    model: DDRNet | StrPath,
    path: StrPath,
    *,
    output: Output = "labels",
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    half: bool = False,
    compact: bool = False,
    license: str | None = None,
) -> tuple[Difference, ...]:
    """Write a model as one file for other runtimes.

    The file takes uint8 images (N, H, W, C), RGB for three channels, and computes everything up to
    the output: normalisation, the network with folded BatchNorm and, for labels, their exact
    interpolation. Its metadata holds the classes with their colours, mean and standard deviation,
    the weights' tag and licence, and the library's version. The file is compared with the model
    first: nothing is written if they differ by more than rounding.

    Args:
        model: A model, or what `ddrnet.Predictor` takes as one.
        path: The file to create or replace. The suffix sets the format: `.onnx`, or `.pt2` for
            `torch.export`.
        output: "labels" (N, H, W) uint8; "logits" at stride 8, or "full" logits at the images'
            size, (N, K, h, w) float32.
        size: Height and width of the images, in pixels; by default any size from 32 up.
        batch: Images per call; by default any number.
        half: Whether weights and activations have 16 bits, for accelerators. Images, logits and
            labels stay what they are.
        compact: Whether an ONNX file stores weights of convolutions in 16 bits and widens them when
            it is loaded. The file computes the same bits: weights that 16 bits do not hold exactly
            stay float32, and the log shows the share of the others. Weights that come with the
            library are float16, so their files shrink to about half.
        license: SPDX identifier of the weights, for the metadata; by default that of the weights
            row that the model came from.

    Returns:
        The differences between the file and the model, one for each batch of images compared.

    Raises:
        ValueError: If an argument does not fit, or labels cannot hold the model's classes.
        DDRNetError: If the model cannot be loaded, or a package of the extra `export` is missing.
        ExportError: If the file differs from the model.
        OSError: If the file cannot be written.
    """
    target = checked_target(path)
    _check(output, size, batch)
    if compact and (half or target.suffix != ".onnx"):
        raise ValueError(
            "compact=True is for .onnx files that compute in float32: leave out half=True, which "
            "stores 16 bits anyway, and write no .pt2 file"
        )
    if target.suffix == ".onnx":
        check_packages()
    network = model if isinstance(model, DDRNet) else trained_model(model)
    if output == "labels" and network.num_classes > MAX_CLASSES:
        raise ValueError(
            f"labels of 8 bits hold {MAX_CLASSES} classes, the model has {network.num_classes}: "
            "export its logits"
        )
    precision: StoredPrecision = "float16" if half else "float32"
    description = Description.of(
        network, output, precision, license=license, library_version=__version__
    )
    graph = ImageGraph(network, output, torch.float16 if half else torch.float32)
    program = trace(graph, size, batch)
    if target.suffix == ".onnx":
        converted = to_onnx(program, output)
        if compact:
            halve_weights(converted, network.without_aux_head().cpu().float())
        content = file_content(converted, description)
        run: Run = OnnxFile(content, target.name).run
    else:
        content = _pt2_content(program, description)
        run = _pt2_run(content)
    found = compare(run, network, output, description.precision, size=size, batch=batch)
    write_atomically(target, content)
    return found


def checked_target(path: StrPath) -> Path:
    """Return the path of a file that can be written, as far as its name tells.

    Raises:
        ValueError: If its suffix names no format.
        OSError: If there is no such folder, or the path is one.
    """
    target = Path(path).expanduser()
    if target.suffix not in SUFFIXES:
        raise ValueError(
            f"the suffix of {target} names no format: use .onnx, or .pt2 for torch.export"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} to")
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder")
    return target


def _check(output: str, size: tuple[int, int] | None, batch: int | None) -> None:
    if output not in get_args(Output):
        raise ValueError(f"output is one of {', '.join(get_args(Output))}, got {output!r}")
    if size is not None and (len(size) != 2 or min(size) < MIN_SIZE):
        raise ValueError(f"size is a height and a width from {MIN_SIZE} pixels, got {size}")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is a number of images from 1, got {batch}")


def _pt2_content(program: ExportedProgram, description: Description) -> bytes:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    buffer = io.BytesIO()
    metadata = json.dumps(description.to_metadata(), indent=2)
    torch.export.save(program, buffer, extra_files={METADATA: metadata})
    return buffer.getvalue()


def _pt2_run(content: bytes) -> Run:
    module = torch.export.load(io.BytesIO(content)).module()

    def run(images: NDArray[np.uint8]) -> NDArray[np.generic]:
        with torch.inference_mode():
            result: NDArray[np.generic] = module(torch.from_numpy(images)).numpy()
        return result

    return run
