"""Compares the results of an exported file with those of its model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ddrnet.data.transforms import Normalize
from ddrnet.errors import ExportError
from ddrnet.factory import trained_model
from ddrnet.files import StrPath
from ddrnet.network import DDRNet
from ddrnet.predictor.exported.description import Output, StoredPrecision, read_sealed
from ddrnet.predictor.exported.onnx_file import OnnxFile
from ddrnet.upsampling import upsample, upsample_argmax

logger = logging.getLogger(__name__)

Run = Callable[[NDArray[np.uint8]], NDArray[np.generic]]
"""Maps images (N, H, W, C) to the output of a file."""

SIZES = ((32, 64), (97, 161), (256, 512))
"""Heights and widths of the images that a file for any size is checked with."""

BATCHES = (1, 3)

LARGEST_DIFFERENCE = {"float32": 1e-3, "float16": 5e-3, "int8": 0.35}
"""Tolerated difference of logits, as a fraction of the range of the model's logits.

A network of 8 bits differs by 0.05 to 0.21 after calibration with fitting images, and by 0.45 and
more after calibration with black or grey ones.
"""

NEAR_TIE = {"float32": 1e-5, "float16": 5e-3}
"""Lead of the model's class, as a fraction of that range, below which another may be predicted."""


class Difference(NamedTuple):
    """The difference between a file and its model on one batch of images.

    Attributes:
        batch: Number of images.
        size: Height and width, in pixels.
        largest: As a fraction of the range of the model's logits: the largest difference of
            logits; for labels, the largest lead of the model's class over a different label.
        labels: Share of the pixels whose labels differ, 0-1; None for logits of floats.
    """

    batch: int
    size: tuple[int, int]
    largest: float
    labels: float | None

    def __str__(self) -> str:
        place = f"{self.batch} x {self.size[0]} x {self.size[1]}"
        if self.labels is None:
            return f"{place}: logits differ by at most {self.largest:.1e} of their range"
        return f"{place}: {self.labels:.2%} of the labels differ, by at most {self.largest:.1e}"


def verify(path: StrPath, model: DDRNet | StrPath | None = None) -> tuple[Difference, ...]:
    """Compare an exported ONNX file with its model.

    Args:
        path: A file of `ddrnet.export`.
        model: The model it was exported from, or what `ddrnet.Predictor` takes as one; by default
            the weights that the file's metadata names.

    Returns:
        The differences, one for each batch of images.

    Raises:
        FileNotFoundError: If there is no such file.
        ExportError: If the file is no ONNX file of `ddrnet.export`, has changed since, or differs
            from the model.
        ValueError: If no model is given and the file names none.
        DDRNetError: If the model cannot be loaded, or a package of the extra `export` is missing.
    """
    if str(path).endswith(".pt2"):
        raise ValueError(
            f"{path} is not read: loading a .pt2 file can run code in it. Such files are compared "
            "with their model when they are exported"
        )
    content = read_sealed(path)
    known = OnnxFile(content, str(path)).description
    if model is None and not known.weights:
        raise ValueError(f"{path} names no weights of this library: pass the model it came from")
    network = model if isinstance(model, DDRNet) else trained_model(model or known.weights)
    if (network.config, network.num_classes) != (known.spec.config, known.spec.num_classes):
        raise ExportError(f"{path} was exported from another model: its size or classes differ")
    return compare_file(content, str(path), network)


def compare_file(
    content: bytes, place: str, model: DDRNet, photos: Iterable[NDArray[np.uint8]] = ()
) -> tuple[Difference, ...]:
    """Compare an ONNX file with its model.

    A network of 8 bits is compared by its logits. What follows the logits in its file is compared
    with the logits of the file itself, as exactly as in other files.

    Args:
        content: The whole file.
        place: The name of the file, for errors.
        model: The model it was exported from.
        photos: More images (N, H, W, C) that the file takes.

    Raises:
        ExportError: If the file differs from the model.
    """
    file = OnnxFile(content, place)
    known, output = file.description, file.description.output
    images = list(check_images(model.in_chans, file.size, file.batch))
    if known.precision != "int8":
        return compare(file.run, logits_of(model), output, known.precision, images)
    cut = OnnxFile(content, place, logits=True)
    compare(
        file.run,
        lambda seen: _result(cut.run, seen),
        output,
        "float32",
        images,
        level=logging.DEBUG,
    )
    more = (torch.from_numpy(photo).permute(0, 3, 1, 2) for photo in photos)
    network = logits_of(model)
    found = compare(cut.run, network, "logits", "int8", images)
    return found + compare(cut.run, network, "logits", "int8", more, level=logging.DEBUG)


def compare(
    run: Run,
    expected: Callable[[Tensor], Tensor],
    output: Output,
    precision: StoredPrecision,
    images: Iterable[Tensor],
    *,
    level: int = logging.INFO,
) -> tuple[Difference, ...]:
    """Run a file and its model on the same images; the log shows each difference.

    Args:
        run: The file.
        expected: Maps images (N, C, H, W) uint8 to the model's logits (N, K, h, w).
        output: The kind of result of the file.
        precision: The numbers that the file computes with, which set the tolerance.
        images: Each (N, C, H, W) uint8.
        level: Of the messages in the log.

    Raises:
        ExportError: If a difference is too large, or a result has another shape or type.
    """
    bound = (NEAR_TIE if output == "labels" else LARGEST_DIFFERENCE)[precision]
    found = []
    for seen in images:
        logits = expected(seen)  # (N, K, h, w)
        size = (seen.shape[2], seen.shape[3])
        result = _result(run, seen)
        found.append(_difference(result, logits, output, size))
        if precision == "int8":
            wrong = upsample_argmax(result, size) != upsample_argmax(logits, size)
            found[-1] = found[-1]._replace(labels=float(wrong.float().mean()))
        logger.log(level, "%s", found[-1])
    for difference in found:
        if not difference.largest <= bound:  # true for NaN
            raise ExportError(
                f"the file differs from the model: {difference}; tolerated are {bound:.0e} for "
                f"{precision}"
            )
    return tuple(found)


def logits_of(model: DDRNet) -> Callable[[Tensor], Tensor]:
    """Return a function from images (N, C, H, W) uint8 to the logits of a model, in float32."""
    network = model.without_aux_head().cpu().float().eval()
    network.upsample = False
    normalize = Normalize.from_model(network)

    def compute(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(normalize(images))
        return logits

    return compute


def check_images(
    channels: int, size: tuple[int, int] | None, batch: int | None
) -> Iterator[Tensor]:
    """Yield images that a file is checked with, (N, C, H, W) uint8.

    Args:
        channels: Channels that the file reads.
        size: Height and width that the file takes; None for any.
        batch: Images per call that the file takes; None for any number.
    """
    for sides in [size] if size else SIZES:
        for count in [batch] if batch else BATCHES:
            yield sample_images(count, channels, sides)


def sample_images(batch: int, channels: int, size: tuple[int, int]) -> Tensor:
    """Return the same images at every call, (N, C, *size) uint8: soft shapes under some noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, channels, *(side // 16 + 2 for side in size), generator=generator)
    shapes = F.interpolate(coarse, size, mode="bicubic")
    noise = torch.randn(batch, channels, *size, generator=generator)
    return (255 * shapes + 8 * noise).clamp(0, 255).to(torch.uint8)


def _result(run: Run, images: Tensor) -> Tensor:
    """Return what a file computes of images (N, C, H, W) uint8."""
    return torch.from_numpy(run(images.permute(0, 2, 3, 1).contiguous().numpy()))


def _difference(
    result: Tensor, logits: Tensor, output: Output, size: tuple[int, int]
) -> Difference:
    expected = {
        "labels": lambda: upsample_argmax(logits, size),
        "logits": lambda: logits,
        "full": lambda: upsample(logits, size),
    }[output]()
    if (result.shape, result.dtype) != (expected.shape, expected.dtype):
        raise ExportError(
            f"the file computes {result.dtype} of shape {tuple(result.shape)}, expected "
            f"{expected.dtype} of shape {tuple(expected.shape)}"
        )
    spread = float(logits.max() - logits.min()) or 1.0
    if output == "labels":
        wrong = result != expected
        largest = max(map(_lead, logits, result, wrong)) / spread
        return Difference(len(logits), size, largest, float(wrong.float().mean()))
    largest = float((result - expected).abs().max()) / spread  # NaN if a result is
    return Difference(len(logits), size, largest, None)


def _lead(logits: Tensor, labels: Tensor, wrong: Tensor) -> float:
    """Return the largest lead of the model's class over a wrong label of one image.

    Args:
        logits: (K, h, w).
        labels: (H, W) uint8.
        wrong: (H, W), true where the model's class differs.
    """
    if not wrong.any():
        return 0.0
    if int(labels.max()) >= len(logits):
        return float("inf")
    full = upsample(logits[None].double(), labels.shape)[0]  # (K, H, W)
    lead = full.amax(0) - full.gather(0, labels.long()[None])[0]  # (H, W)
    return float(lead[wrong].max())
