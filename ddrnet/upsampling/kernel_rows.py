"""Single rows of a bilinear interpolation, bit for bit as torch's CPU kernels compute them.

Kernels round differently, so only a kernel itself gives its own bits. A row comes from a call on
the two input rows around it, at the scale that makes the kernel arrive at the same position.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddrnet.upsampling.strips import source_positions, upsample

SMALL = 128
"""Torch computes images whose height and width add up to this or less by another kernel."""


def kernel_positions(length: int, size: int, image: Tensor) -> Tensor:
    """Return `source_positions` rounded as in the kernel that interpolates `image`.

    Some kernels round once (fused multiply-add), some twice. So the kernel is asked: where it
    interpolates 0, 1, 0, 1, ..., a pixel behind a 0 shows the weight that its position has.

    Args:
        length: Input pixels.
        size: Output pixels.
        image: (1, K, h, w), whose dtype, classes and memory format choose the kernel.

    Returns:
        (size,), float32.
    """
    twice = source_positions(length, size, torch.empty(0))
    scale = torch.tensor(length / size).double()
    once = ((torch.arange(size) + 0.5).double() * scale - 0.5).float()
    if torch.equal(once, twice):
        return twice
    stripes = (torch.arange(length) % 2).to(image.dtype).view(-1, 1)
    stripes = stripes.expand(1, min(4, image.shape[1]), -1, 1)
    stripes = stripes.contiguous(memory_format=kernel_format(image))
    answer = upsample(stripes, (size, max(1, SMALL + 1 - size)))[0, 0, :, 0]
    behind_zero = (once > 0) & (once < length - 1) & (once.floor() % 2 == 0)
    weights = once.frac().to(image.dtype)
    return once if torch.equal(weights[behind_zero], answer[behind_zero]) else twice


def kernel_format(image: Tensor) -> torch.memory_format:
    """Return the memory format that torch's choice of a kernel goes by."""
    if image.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def kernel_row(image: Tensor, positions: Tensor, row: int, width: int) -> Tensor:
    """Return one row (K, width) of `image` interpolated to (len(positions), width).

    Args:
        image: (1, K, h, w) on a CPU, float32 or shorter.
        positions: `kernel_positions` of the rows.
        row: The row's index in the result.
        width: Columns of the result, at least `SMALL`.
    """
    position, length = float(positions[row]), image.shape[2]
    if length == len(positions):
        near, height, taken, scale = slice(row, row + 1), 1, 0, 1.0
    elif position < 1:
        near, height, taken, scale = slice(2), max(row + 1, 3), row, length / len(positions)
    else:
        top = min(int(position), length - 2)
        near, height, taken, scale = slice(top, top + 2), 1, 0, 2 * (position - top) + 1
    rows = torch.ops.aten.upsample_bilinear2d(
        image[:, :, near], [height, width], False, 1 / scale, None
    )
    result: Tensor = rows[0, :, taken]
    return result
