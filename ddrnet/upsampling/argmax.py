"""The leading class of every pixel at full resolution.

Bilinear weights are convex: the class that leads at all four corners of a cell of the small map
leads everywhere in it. So only cells at class borders are interpolated, and there only the classes
that compete. What stays within rounding error of a tie is left to torch's own kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ddrnet.upsampling.kernel_rows import SMALL, kernel_format, kernel_positions, kernel_row
from ddrnet.upsampling.strips import CPU_STRIP, Size, Strips, check_maps, upsample

ROUNDING = 24
"""Machine epsilons, relative to the largest logit, by which two interpolations can differ."""

LARGEST = 1e30
"""Sums of larger logits may overflow."""


def upsample_argmax(logits: Tensor, size: Size) -> Tensor:
    """Return the class that leads at each pixel of the full-resolution logits.

    On a CPU the result equals `upsample(logits, size).argmax(1)` bit for bit, with ties, infinities
    and NaN. Other devices compute in float32 at least and may differ from it where two classes are
    equal to within rounding.

    Args:
        logits: (N, K, h, w), floating point, in any memory format.
        size: Height and width of the result, in pixels.

    Returns:
        Class indices (N, *size), int64.

    Raises:
        ValueError: If `logits` is not a batch of maps, or `size` holds a length below 1.
    """
    check_maps(logits, size)
    labels = torch.empty(logits.shape[0], *size, dtype=torch.int64, device=logits.device)
    with torch.no_grad():
        for n, out in enumerate(labels):
            _fill(out, logits[n : n + 1])
    return labels


def _fill(out: Tensor, image: Tensor) -> None:
    """Write the leading classes of `image` (1, K, h, w) into `out` (H, W)."""
    if not image.is_cpu:
        _fill_in_strips(out, image)
    elif out.shape[1] < SMALL or image.dtype == torch.float64:
        out[:] = upsample(image, out.shape)[0].max(0).indices
    else:
        _fill_as_kernel(out, image.contiguous(memory_format=kernel_format(image)))


def _fill_in_strips(out: Tensor, image: Tensor) -> None:
    logits = image[0] if image.dtype == torch.float64 else image[0].float()
    for rows, strip in Strips(logits, out.shape):
        out[rows] = strip.to(image.dtype).argmax(1)


def _fill_as_kernel(out: Tensor, image: Tensor) -> None:
    """Write what torch's CPU kernel leads to, bit for bit; the kernel computes what is unsure."""
    lowest, highest = image.aminmax()
    largest = float(torch.maximum(-lowest, highest))
    if largest < LARGEST and out.shape == image.shape[2:]:
        out[:] = image[0].max(0).indices
        return
    rows = kernel_positions(image.shape[2], out.shape[0], image)
    if image.dtype != torch.float32 or not largest < LARGEST:
        for row in range(len(rows)):
            out[row] = kernel_row(image, rows, row, out.shape[1]).max(0).indices
        return
    columns = kernel_positions(image.shape[3], out.shape[1], image)
    axes = _Axis.of(rows, image.shape[2]), _Axis.of(columns, image.shape[3])
    info = torch.finfo(image.dtype)
    unsure = _fill_cells(out, image[0], axes, ROUNDING * (info.eps * largest + info.tiny))
    for row in unsure.amax(1).nonzero().squeeze(1).tolist():
        pixels = unsure[row].nonzero().squeeze(1)
        out[row, pixels] = kernel_row(image, rows, row, out.shape[1])[:, pixels].max(0).indices


class _Axis(NamedTuple):
    """How output pixels lie in the cells between input pixels, along one axis.

    Cell i lies between the input pixels i - 1 and i; the first and the last one have both corners
    on the outermost pixel.
    """

    cell: Tensor
    """Of each output pixel."""
    weight: Tensor
    """Of the cell's second corner, at each output pixel."""
    start: Tensor
    """The first output pixel of each cell, and the end of the last one."""

    @classmethod
    def of(cls, positions: Tensor, length: int) -> _Axis:
        """Sort output pixels at `positions` into the `length` + 1 cells."""
        inside = positions.clamp(min=0)
        cell = torch.where(positions < 0, 0, inside.long() + 1)
        return cls(cell, inside.frac(), torch.searchsorted(cell, torch.arange(length + 2)))

    @property
    def pixels_per_cell(self) -> Tensor:
        return self.start.diff()

    def pixels(self, cells: Tensor) -> Tensor:
        """List the pixels of each cell, down the columns; short columns repeat their last one."""
        steps = torch.arange(int(self.pixels_per_cell.max())).unsqueeze(1)
        return torch.minimum(self.start[cells] + steps, self.start[cells + 1] - 1)


def _fill_cells(out: Tensor, logits: Tensor, axes: tuple[_Axis, _Axis], margin: float) -> Tensor:
    """Write the leading classes of `logits` (K, h, w) into `out`; return 1 where unsure."""
    rows, columns = axes
    padded = F.pad(logits.unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0]
    leader, rivals = _rivals(padded, margin)
    torch.index_select(leader.index_select(1, columns.cell), 0, rows.cell, out=out)
    pixels = rows.pixels_per_cell.unsqueeze(1) * columns.pixels_per_cell
    unsure = torch.zeros_like(out, dtype=torch.uint8)
    for cells, classes in _contests(rivals & (pixels > 0), int(pixels.max())):
        place, values = _interpolate(padded, axes, cells, classes)
        labels, lead = _winner(values, classes)
        out.view(-1)[place] = labels
        unsure.view(-1)[place[~(lead > margin)]] = 1
    return unsure


def _rivals(padded: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Find the class that leads in each cell and those that do not trail it at every corner.

    Returns:
        The leader (cells down, cells across) and the mask of rivals, itself included,
        (K, cells down, cells across).
    """
    upper, lower = padded[:, :-1], padded[:, 1:]
    corners = upper[..., :-1], upper[..., 1:], lower[..., :-1], lower[..., 1:]
    sums = upper + lower
    leader = (sums[..., :-1] + sums[..., 1:]).max(0, keepdim=True).indices
    rivals = torch.zeros_like(corners[0], dtype=torch.bool)
    for corner in corners:
        rivals |= corner >= corner.gather(0, leader) - margin
    return leader[0], rivals


def _contests(rivals: Tensor, pixels_per_cell: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield flat indices of cells (M,) that have equally many rivals, and these (R, M)."""
    rivals = rivals.flatten(1).t().contiguous()
    counts = rivals.sum(1)
    for count in range(2, int(counts.max()) + 1):
        chunk = max(1, CPU_STRIP // (count * pixels_per_cell))
        for cells in torch.split((counts == count).nonzero().squeeze(1), chunk):
            yield cells, rivals[cells].nonzero()[:, 1].view(-1, count).t()


def _interpolate(
    padded: Tensor, axes: tuple[_Axis, _Axis], cells: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Interpolate `classes` (R, M) in `cells` (M,).

    Returns:
        Flat indices of the cells' pixels (S, T, M), S down and T across, and the values there
        (R, S, T, M).
    """
    rows, columns = axes
    _, height, width = padded.shape
    down, across = cells // (width - 1), cells % (width - 1)
    y, x = rows.pixels(down), columns.pixels(across)
    first = (classes * height + down) * width + across
    corners = [padded.take(first + step).unsqueeze(1) for step in (0, width, 1, width + 1)]
    left = torch.lerp(corners[0], corners[1], rows.weight[y])
    right = torch.lerp(corners[2], corners[3], rows.weight[y])
    values = torch.lerp(left.unsqueeze(2), right.unsqueeze(2), columns.weight[x])
    return y.unsqueeze(1) * len(columns.cell) + x, values


def _winner(values: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the leading one of `classes` (R, M) by `values` (R, S, T, M), and how far it leads."""
    labels, best = classes[0].expand_as(values[0]), values[0]
    second = torch.full_like(best, -torch.inf)
    for label, value in zip(classes[1:], values[1:], strict=True):
        labels = torch.where(value > best, label, labels)
        second = torch.maximum(second, torch.minimum(best, value))
        best = torch.maximum(best, value)
    return labels, best - second
