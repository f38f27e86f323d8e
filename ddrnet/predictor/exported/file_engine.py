"""Computes the logits of images by an exported file, for the predictor."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ddrnet.predictor.engine import check_logits, luma
from ddrnet.predictor.exported.onnx_file import OnnxFile


class FileEngine:
    """Runs an exported file; logits and images lie in the memory of the CPU.

    Args:
        file: A file that computes logits at stride 8.
        batch_pixels: The most pixels of images that are computed together.

    Attributes:
        classes: The class of each logit.
        in_chans: Channels of the images.
        batch_pixels: The most pixels of images that are computed together.
        size: The only height and width that the file takes; None for any.
    """

    def __init__(self, file: OnnxFile, *, batch_pixels: int = 1) -> None:
        spec = file.description.spec
        self.classes, self.in_chans = spec.classes or (), spec.in_chans or 3
        self.size, self.batch_pixels = file.size, batch_pixels
        self.file = file

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (N, K, ceil(H/8), ceil(W/8)), float32, on the CPU.

        Args:
            images: (N, C, H, W), uint8 or floats from 0 to 255, which are rounded; RGB also for
                one channel.

        Raises:
            ValueError: If the file takes other images, or the logits are not finite.
            ExportError: If the library that runs the file fails.
        """
        images = as_bytes(images, self.in_chans)
        step = self.file.batch or len(images)
        logits = torch.cat([self._part(part, step) for part in torch.split(images, step)])
        check_logits(logits)
        return logits

    def _part(self, images: Tensor, batch: int) -> Tensor:
        """Return the logits of at most `batch` images; black ones fill up the batch."""
        filled = F.pad(images, (0, 0) * 3 + (0, batch - len(images)))
        pixels = filled.permute(0, 2, 3, 1).contiguous().cpu().numpy()  # (N, H, W, C)
        logits = self.file.run(pixels).astype(np.float32, copy=False)
        return torch.from_numpy(logits)[: len(images)]  # (N, K, h, w)


def as_bytes(images: Tensor, channels: int) -> Tensor:
    """Return images as a file takes them, (N, channels, H, W) uint8.

    Args:
        images: (N, C, H, W), uint8 or floats from 0 to 255, which are rounded.
        channels: Channels of the file; with one, RGB becomes its luma.
    """
    if (channels, images.shape[1]) == (1, 3):
        images = luma(images)  # (N, 1, H, W) floats
    if images.is_floating_point():
        images = images.round().clamp(0, 255).to(torch.uint8)
    return images
