"""The leading class of every pixel, by operations that a graph can hold for every size.

Where one class leads at all four corners of a cell of the small map, it leads everywhere in the
cell. So the graph interpolates the other cells alone, each of them whole.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ddrnet.upsampling.strips import Size


def traceable_argmax(logits: Tensor, size: Size, stride: int) -> Tensor:
    """Return what `upsample_argmax` returns, for `torch.export` and ONNX.

    There are no loops and no branches, so that one traced graph serves every size. Finite logits
    alone are computed: the graph cannot raise an error for others.

    Args:
        logits: (N, K, h, w), floating point, of at most 256 classes.
        size: Height and width of the result, in pixels: more than h and w.
        stride: The largest number of pixels of the result per pixel of the logits, along one side.

    Returns:
        Class indices (N, *size), uint8.
    """
    _, classes, height, width = logits.shape
    rows, columns = _Axis(height, size[0], logits.dtype), _Axis(width, size[1], logits.dtype)
    padded = F.pad(logits, (1, 1, 1, 1), mode="replicate")  # (N, K, h + 2, w + 2)
    leaders = padded.argmax(1).to(torch.uint8)  # (N, h + 2, w + 2)
    first = leaders[:, :-1, :-1]  # (N, h + 1, w + 1), as the other corners
    contested = (first != leaders[:, :-1, 1:]) | (first != leaders[:, 1:, :-1])
    contested = contested | (first != leaders[:, 1:, 1:])
    labels = first.index_select(1, rows.cell).index_select(2, columns.cell)  # (N, *size)

    image, down, across = contested.nonzero().unbind(1)  # (M,) for M cells
    corner = (image * (height + 2) + down) * (width + 2) + across  # (M,)
    values = padded.permute(0, 2, 3, 1).reshape(-1, classes)  # (N * (h + 2) * (w + 2), K)
    upper_left, upper_right, lower_left, lower_right = (
        values.index_select(0, corner + step).t() for step in (0, 1, width + 2, width + 3)
    )  # (K, M)
    y, weight = rows.pixels(down, stride)  # (stride, M)
    left = upper_left + weight.unsqueeze(1) * (lower_left - upper_left)  # (stride, K, M)
    right = upper_right + weight.unsqueeze(1) * (lower_right - upper_right)
    x, weight = columns.pixels(across, stride)  # (stride, M)
    inside = left.unsqueeze(1) + weight.unsqueeze(1) * (right - left).unsqueeze(1)
    # inside: (stride, stride, K, M)
    winner = inside.argmax(2).to(torch.uint8)  # (stride, stride, M)
    place = (image * size[0] + y).unsqueeze(1) * size[1] + x  # (stride, stride, M)
    return labels.flatten().scatter(0, place.flatten(), winner.flatten()).view(labels.shape)


class _Axis:
    """The output pixels of the cells between input pixels, along one axis.

    Cell i lies between the input pixels i - 1 and i; the first and the last one have both corners
    on the outermost pixel. Output pixel p lies (2 p + 1) * length / (2 * size) + 1/2 cells from the
    start of the first cell. Whole numbers keep that exact.

    Args:
        length: Input pixels.
        size: Output pixels, more than `length`: so every cell has one.
        dtype: Of the weights.
    """

    def __init__(self, length: int, size: int, dtype: torch.dtype) -> None:
        distance = (2 * torch.arange(size) + 1) * length + size
        self.cell = distance // (2 * size)  # (size,)
        self._weight = (distance - 2 * size * self.cell).to(dtype) / (2 * size)  # (size,)
        # The first pixel of each cell, and the end of the last one: a quotient rounded up.
        above = (2 * torch.arange(length + 2) - 1) * size + length - 1
        self._start = (above // (2 * length)).clamp(0, size)  # (length + 2,)

    def pixels(self, cells: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """List the pixels of cells (M,) and the weights of the second corner there.

        Returns:
            Two tensors (count, M); shorter columns repeat their last pixel.
        """
        steps = torch.arange(count).unsqueeze(1)
        pixels = self._start[cells] + steps
        pixels = torch.minimum(pixels, self._start[cells + 1] - 1)
        return pixels, self._weight[pixels]
