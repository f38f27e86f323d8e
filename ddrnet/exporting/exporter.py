"""Exports a model: traced, converted, and compared with the model before the file appears."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from ddrnet import __version__
from ddrnet.exporting.calibration import CalibrationImages
from ddrnet.exporting.compact import halve_weights
from ddrnet.exporting.quantization import quantized
from ddrnet.exporting.verification import (
    Difference,
    Run,
    check_images,
    compare,
    compare_file,
    logits_of,
)
from ddrnet.factory import trained_model
from ddrnet.files import StrPath, write_atomically
from ddrnet.labels import MAX_CLASSES
from ddrnet.network import MIN_SIZE, DDRNet
from ddrnet.predictor.exported.description import Description, Output, StoredPrecision
from ddrnet.predictor.exported.graphs import Grey, ImageGraph, trace
from ddrnet.predictor.exported.onnx_graphs import check_packages, file_content, to_onnx

logger = logging.getLogger(__name__)

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
    int8: bool = False,
    calibration: Any = None,
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
        int8: Whether an ONNX file computes the network in 8 bits, for processors. Labels differ in
            a few pixels of a hundred or thousand; the log shows the share.
        calibration: The images that set the value ranges of `int8`: a folder, or whatever
            `Predictor.stream` takes. At most 64 are used, evenly spread. They should look like
            those that the file will see.
        license: SPDX identifier of the weights, for the metadata; by default that of the weights
            row that the model came from.

    Returns:
        The differences between the file and the model, one for each batch of images compared; the
        calibration images come last.

    Raises:
        ValueError: If an argument does not fit, or labels cannot hold the model's classes.
        DDRNetError: If the model cannot be loaded, or a package of the extra `export` is missing.
        ExportError: If the file differs from the model.
        OSError: If the file cannot be written.
    """
    target = checked_target(path)
    _check(output, size, batch)
    precision = _precision(target, half, compact, int8, calibration is not None)
    if target.suffix == ".onnx":
        check_packages()
    network = model if isinstance(model, DDRNet) else trained_model(model)
    if output == "labels" and network.num_classes > MAX_CLASSES:
        raise ValueError(
            f"labels of 8 bits hold {MAX_CLASSES} classes, the model has {network.num_classes}: "
            "export its logits"
        )
    photos = CalibrationImages(calibration, network.in_chans, size, batch) if int8 else ()
    description = Description.of(
        network, output, precision, license=license, library_version=__version__
    )
    dtype = torch.float16 if half else torch.float32
    graph = ImageGraph(network, output, dtype, normalisation_in_stem=int8)
    program = trace(graph, size, batch)
    if target.suffix == ".pt2":
        content = _pt2_content(program, description)
        images = check_images(network.in_chans, size, batch)
        found = compare(_pt2_run(content), logits_of(network), output, precision, images)
    else:
        converted = to_onnx(program, output)
        if compact:
            halve_weights(converted, network.without_aux_head().cpu().float())
        if isinstance(graph.normalize, Grey):
            converted = quantized(converted, photos, graph.normalize.level)
        content = file_content(converted, description)
        found = compare_file(content, target.name, network, photos)
        _log_agreement(found[len(found) - len(photos) :])
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


def _precision(
    target: Path, half: bool, compact: bool, int8: bool, calibrated: bool
) -> StoredPrecision:
    """Return the numbers that a file computes with.

    Raises:
        ValueError: If the options contradict each other.
    """
    if half + compact + int8 > 1:
        raise ValueError("half, compact and int8 are three ways to store a network: choose one")
    if (compact or int8) and target.suffix != ".onnx":
        raise ValueError(f"compact and int8 are for .onnx files, got {target.name}")
    if int8 != calibrated:
        raise ValueError(
            "int8 needs calibration, a folder of images like those that the file will see, and "
            "calibration has no effect without int8"
        )
    return "int8" if int8 else "float16" if half else "float32"


def _log_agreement(calibrated: Sequence[Difference]) -> None:
    """Log the share of the labels that differ on the calibration images, if there are any."""
    if calibrated:
        mean = sum(difference.labels or 0.0 for difference in calibrated) / len(calibrated)
        logger.info(
            "%d calibration images: %.2f %% of the labels differ", len(calibrated), 100 * mean
        )


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
