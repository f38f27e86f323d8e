"""Sees large images through overlapping windows, whose logits are blended."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ddrnet.predictor.tta import Network
from ddrnet.variants import OUTPUT_STRIDE

GRID = 64
"""Windows start at multiples of the network's largest stride, in pixels: there every layer samples
the places that it samples in the whole image."""

SMALLEST = 2 * GRID
"""The smallest side of a window, in pixels."""


class Windows:
    """A network that sees an image in parts; memory depends on the size of the window.

    Neighbouring windows share at least a quarter of their side. There the weight of a window's
    logits falls linearly towards its edge. The logits differ from those of the whole image,
    because each window sees only its own surroundings.

    Args:
        network: Maps images (N, C, H, W) to logits at stride 8.
        size: Height and width of a window, in pixels; rounded up to multiples of 64.

    Raises:
        ValueError: If a side is below 128 pixels.
    """

    def __init__(self, network: Network, size: tuple[int, int]) -> None:
        if len(size) != 2 or min(size) < SMALLEST:
            raise ValueError(
                f"window is a height and a width from {SMALLEST} pixels on, got {size}"
            )
        self.network = network
        self.size = tuple(math.ceil(side / GRID) * GRID for side in size)

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (N, K, ceil(H/8), ceil(W/8)).

        Args:
            images: (N, C, H, W), as the network takes them.
        """
        rows, columns = map(_spans, images.shape[-2:], self.size)
        if len(rows) == len(columns) == 1:
            return self.network(images)
        height, width = (math.ceil(side / OUTPUT_STRIDE) for side in images.shape[-2:])
        total: Tensor | None = None
        for row in rows:
            for column in columns:
                logits = self.network(images[..., row, column])  # (N, K, h, w)
                if total is None:
                    total = logits.new_zeros(*logits.shape[:2], height, width)
                    weights = logits.new_zeros(height, width)
                weight = _hat(logits.shape[2], logits)[:, None] * _hat(logits.shape[3], logits)
                top, left = row.start // OUTPUT_STRIDE, column.start // OUTPUT_STRIDE
                place = slice(top, top + len(weight)), slice(left, left + weight.shape[1])
                total[..., place[0], place[1]] += logits * weight
                weights[place] += weight
        assert total is not None
        return total.div_(weights)


def _spans(length: int, window: int) -> list[slice]:
    """Cover `length` pixels evenly by windows that share at least a quarter of their side."""
    if length <= window:
        return [slice(0, length)]
    count = math.ceil((length - window) / (window * 3 // 4 // GRID * GRID)) + 1
    starts = [
        math.ceil((length - window) * index / (count - 1) / GRID) * GRID for index in range(count)
    ]
    return [slice(start, min(start + window, length)) for start in starts]


def _hat(length: int, like: Tensor) -> Tensor:
    """Return weights (length,) that fall linearly from the middle to both ends, above 0."""
    steps = torch.arange(1, length + 1, dtype=like.dtype, device=like.device)
    return torch.minimum(steps, steps.flip(0))
