"""Segments images from any source by one model."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ddrnet.data.decoding import decode_image, image_pixels
from ddrnet.factory import trained_model
from ddrnet.files import StrPath
from ddrnet.fusing import fuse
from ddrnet.labels import MAX_CLASSES
from ddrnet.network import MIN_SIZE, DDRNet
from ddrnet.predictor.pipeline import check_logits, pick_device, prepare
from ddrnet.predictor.segmentation import Segmentation
from ddrnet.upsampling import upsample_argmax, upsampled_confidence

Precision = Literal["float32", "bfloat16", "float16"]

Source = StrPath | Image.Image | NDArray[np.uint8] | Tensor
"""A path, an address, a Pillow image, or an array (H, W[, C]) or tensor (C, H, W) of uint8."""


class Predictor:
    """Segments images of any size; the labels have the size of the source.

    The network is a copy for inference: BatchNorm folded into convolutions, no auxiliary head,
    activations stored with channels innermost. The caller's model stays as it is.

    Args:
        model: A model, the name of a pretrained or saved one (as for `create_model`), the folder
            of a saved model, or a checkpoint file.
        device: Where to compute; by default the accelerator, or the CPU without one.
        precision: Of weights and activations. Labels are computed in float32.
        fused: Whether BatchNorm is folded.
        compile: Whether torch compiles the network, which takes a while for each new size.
        size: Height and width that the network sees, in pixels; by default those of the source.
            Images below 32 pixels are enlarged. The labels keep the source's size.
        confidence: Whether results hold the probability of the predicted class.

    Raises:
        TypeError: If `model` is of another type.
        ValueError: If an argument does not fit, or the model has more than 256 classes.
        CheckpointError: If a file cannot be read, or leaves parts of the model untrained.
        WeightsUnavailableError: If weights cannot be fetched, or only initialise a training.

    Example:
        >>> predictor = Predictor("ddrnet_23_nano.camvid", device="cpu")
        >>> predictor(np.zeros((40, 60, 3), np.uint8)).labels.shape
        (40, 60)
    """

    def __init__(
        self,
        model: DDRNet | StrPath,
        *,
        device: str | None = None,
        precision: Precision = "float32",
        fused: bool = True,
        compile: bool = False,
        size: tuple[int, int] | None = None,
        confidence: bool = False,
    ) -> None:
        dtype = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
        if precision not in dtype:
            raise ValueError(f"precision is one of {', '.join(dtype)}, got {precision!r}")
        if size is not None and (len(size) != 2 or min(size) < MIN_SIZE):
            raise ValueError(f"size is a height and a width from {MIN_SIZE} pixels, got {size}")
        network = model if isinstance(model, DDRNet) else trained_model(model)
        if network.num_classes > MAX_CLASSES:
            raise ValueError(
                f"the model has {network.num_classes} classes; labels of 8 bits hold {MAX_CLASSES}"
            )
        network = fuse(network) if fused else network.without_aux_head().eval()
        network.aux_head, network.upsample = None, False
        network.requires_grad_(False).to(pick_device(device), dtype[precision])
        self.network = network.to(memory_format=torch.channels_last)
        self.classes = network.classes
        self.size = size
        self.confidence = confidence
        self._forward: Any = torch.compile(self.network) if compile else self.network

    def __call__(self, source: Source) -> Segmentation:
        """Segment one image.

        Args:
            source: A path, an http(s) address, a Pillow image, an array (H, W), (H, W, C) or a
                tensor (C, H, W), uint8. An array has the model's channels, or is grey or RGB, or
                RGB with an alpha channel, which is dropped.

        Raises:
            FileNotFoundError: If there is no such file.
            TypeError: If `source` is of another type.
            ValueError: If it cannot be read, has other channels or values, or the logits are not
                finite.
        """
        started = time.perf_counter()
        image = _pixels(source, self.network.in_chans)  # (C, H, W)
        decoded = time.perf_counter()
        logits = self._logits(image)  # (1, K, h, w)
        computed = time.perf_counter()
        size = torch.Size(image.shape[1:])
        labels = upsample_argmax(logits, size)[0].cpu().numpy()  # (H, W)
        confidence = None
        if self.confidence:
            confidence = upsampled_confidence(logits, size)[0].cpu().numpy()  # (H, W)
        ended = time.perf_counter()
        return Segmentation(
            image=image.permute(1, 2, 0).numpy(),
            labels=labels,
            classes=self.classes,
            confidence=confidence,
            source=str(source) if isinstance(source, str | Path) else "",
            speed={
                "decode": 1000 * (decoded - started),
                "network": 1000 * (computed - decoded),
                "labels": 1000 * (ended - computed),
            },
        )

    @torch.inference_mode()
    def _logits(self, image: Tensor) -> Tensor:
        """Return the logits of (C, H, W) uint8 as float32, (1, K, h, w)."""
        images = prepare(self.network, image[None])
        height, width = images.shape[2:]
        size = self.size or (max(height, MIN_SIZE), max(width, MIN_SIZE))
        if size != (height, width):
            resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
            images = resized.to(images.dtype)
        logits: Tensor = self._forward(images.contiguous(memory_format=torch.channels_last))
        check_logits(logits)  # an accelerator is done then
        return logits.float()


def _pixels(source: Any, channels: int) -> Tensor:
    """Return a source as (C, H, W) uint8, C being the model's channels or RGB."""
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _fetched(source)
    if isinstance(source, str | Path):
        return decode_image(source)
    if isinstance(source, Image.Image):
        return torch.from_numpy(image_pixels(source)).permute(2, 0, 1)
    if isinstance(source, np.ndarray):
        array = source[:, :, None] if source.ndim == 2 else source
        image = torch.from_numpy(np.array(array)) if array.dtype == np.uint8 else None
        image = image.permute(2, 0, 1) if image is not None and image.ndim == 3 else None
    elif isinstance(source, Tensor):
        image = source.cpu() if source.dtype == torch.uint8 and source.ndim == 3 else None
    else:
        raise TypeError(
            "expected a path, an http(s) address, a Pillow image, an array or a tensor, got "
            f"{type(source).__name__}"
        )
    if image is None or 0 in image.shape:
        raise ValueError(
            "expected an array (H, W) or (H, W, C) or a tensor (C, H, W) of uint8, got "
            f"{source.dtype} {tuple(source.shape)}"
        )
    return _with_channels(image, channels)


def _with_channels(image: Tensor, channels: int) -> Tensor:
    """Return (C, H, W) with the model's channels, or RGB for a model of one or three."""
    given = len(image)
    if given == channels or (given == 3 and channels == 1):
        return image
    if given == 1 and channels == 3:
        return image.expand(3, -1, -1)
    if given == 4 and channels in {1, 3}:
        return image[:3]
    raise ValueError(f"the image has {given} channels, the model reads {channels}")


def _fetched(address: str) -> Tensor:
    """Return the image at an http(s) address."""
    from ddrnet.pretrained.connections import SourceError
    from ddrnet.pretrained.download import download
    from ddrnet.weights.row import WebFile

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "image"
        try:
            download(WebFile((address,)), target)
            return decode_image(target)
        except (SourceError, ValueError) as error:
            reason = str(error).replace(str(target), address)
            raise ValueError(f"cannot fetch {address}: {reason}") from error
