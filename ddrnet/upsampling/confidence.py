"""The probability of the leading class of every pixel at full resolution."""

from __future__ import annotations

import torch
from torch import Tensor

from ddrnet.upsampling.strips import Size, check_maps, source_positions

_CPU_BLOCK, _DEVICE_BLOCK = 64, 1024
"""Rows and columns of the result that are computed at once; other devices need large blocks."""


def upsampled_confidence(logits: Tensor, size: Size) -> Tensor:
    """Return the largest softmax probability of each pixel of the full-resolution logits.

    The same as `upsample(logits, size).softmax(1).amax(1)` within rounding, but computed in blocks
    of rows and columns. Half precision is computed in float32.

    Args:
        logits: (N, K, h, w), floating point, at any stride.
        size: Height and width of the result, in pixels.

    Returns:
        `(N, *size)`, float32, or float64 where the logits are: 0-1.

    Raises:
        ValueError: If `logits` is not a batch of maps, or `size` holds a length below 1.
    """
    check_maps(logits, size)
    logits = logits.detach() if logits.dtype == torch.float64 else logits.detach().float()
    height, width = size
    side = _CPU_BLOCK if logits.is_cpu else _DEVICE_BLOCK
    confidence = logits.new_empty(len(logits), height, width)  # (N, H, W)
    for out, image in zip(confidence, logits, strict=True):  # image: (K, h, w)
        for columns in _blocks(width, side):
            wide = _interpolated(image, 2, width, columns)  # (K, h, columns)
            for rows in _blocks(height, side):
                block = _interpolated(wide, 1, height, rows)  # (K, rows, columns)
                block -= block.amax(0)
                out[rows, columns] = block.exp_().sum(0).reciprocal_()
    return confidence


def _blocks(length: int, side: int) -> list[slice]:
    return [slice(start, min(start + side, length)) for start in range(0, length, side)]


def _interpolated(image: Tensor, dim: int, size: int, part: slice) -> Tensor:
    """Interpolate one dimension of (K, h, w) to `size`; return a part of the result."""
    position = source_positions(image.shape[dim], size, image)[part].clamp_(min=0)
    before = position.long()
    after = (before + 1).clamp_(max=image.shape[dim] - 1)
    weight = (position - before).view(-1, *[1] * (2 - dim))
    return image.index_select(dim, before).lerp_(image.index_select(dim, after), weight)
