"""The leading class of every pixel at full resolution.

Bilinear weights are convex: a class that leads at all four corners of a cell of the small map leads
everywhere in the cell. So only the cells at class borders are interpolated, and there only the
classes that compete.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ddrnet.labels import MAX_CLASSES
from ddrnet.upsampling.strips import CPU_STRIP, Size, Strips, check_maps, source_positions, upsample

LARGEST = 1e30
"""Sums of larger logits may overflow."""


def upsample_argmax(logits: Tensor, size: Size) -> Tensor:
    """Return the class that leads at each pixel of the full-resolution logits.

    The result equals `upsample(logits, size).argmax(1)`, except where the two leading classes are
    equal to within rounding: on a CPU, each pixel's class trails the leading one by at most 8
    machine epsilons times the largest absolute logit. `upsample` itself may trail by more, because
    it rounds the positions of pixels too. Half precision is computed in float32.

    Args:
        logits: (N, K, h, w), floating point, in any memory format, of at most 256 classes.
        size: Height and width of the result, in pixels.

    Returns:
        Class indices `(N, *size)`, uint8.

    Raises:
        ValueError: If `logits` is not a batch of maps or has more than 256 classes, or `size` holds
            a length below 1.
    """
    check_maps(logits, size)
    if logits.shape[1] > MAX_CLASSES:
        raise ValueError(
            f"8-bit label maps hold at most {MAX_CLASSES} classes, got logits of {logits.shape[1]} "
            "classes: take upsample(logits, size).argmax(1)"
        )
    if logits.shape[2:] == tuple(size):
        return logits.argmax(1).to(torch.uint8)
    labels = torch.empty(logits.shape[0], *size, dtype=torch.uint8, device=logits.device)
    with torch.no_grad():
        for out, image in zip(labels, logits, strict=True):
            image = image if image.dtype == torch.float64 else image.float()  # (K, h, w)
            if not image.is_cpu:
                for rows, strip in Strips(image, out.shape):  # strip: (rows, K, W)
                    out[rows] = strip.argmax(1)
            elif float(image.abs().amax()) < LARGEST:  # false for NaN
                _fill_cells(out, image)
            else:
                _fill_by_class(out, image)
    return labels


def _fill_by_class(out: Tensor, image: Tensor) -> None:
    """Write the leading classes of any values, also infinite and NaN; as in argmax, NaN leads."""
    best = torch.full(out.shape, -torch.inf, dtype=image.dtype)  # (H, W)
    out.zero_()
    for index, logits in enumerate(image):  # logits: (h, w)
        values = upsample(logits[None, None], out.shape)[0, 0]  # (H, W)
        leads = (values > best) | (values.isnan() & ~best.isnan())  # (H, W)
        out.masked_fill_(leads, index)
        best = torch.where(leads, values, best)


class _Axis(NamedTuple):
    """The assignment of output pixels to the cells between input pixels, along one axis.

    Cell i lies between the input pixels i - 1 and i; the first and the last one have both corners
    on the outermost pixel.
    """

    cell: Tensor
    """The cell of each output pixel."""
    weight: Tensor
    """The weight of the cell's second corner at each output pixel."""
    start: Tensor
    """The first output pixel of each cell, and the end of the last one."""

    @classmethod
    def of(cls, length: int, size: int, dtype: torch.dtype) -> _Axis:
        """Sort `size` output pixels into the `length` + 1 cells."""
        positions = source_positions(length, size, torch.empty(0, dtype=torch.float64))
        inside = positions.clamp(min=0)
        cell = torch.where(positions < 0, 0, inside.long() + 1)
        start = torch.searchsorted(cell, torch.arange(length + 2))
        return cls(cell, inside.frac().to(dtype), start)

    @property
    def pixels_per_cell(self) -> Tensor:
        return self.start.diff()

    def pixels(self, cells: Tensor) -> Tensor:
        """List the pixels of each cell, down the columns; short columns repeat their last one."""
        steps = torch.arange(int(self.pixels_per_cell.max())).unsqueeze(1)
        return torch.minimum(self.start[cells] + steps, self.start[cells + 1] - 1)


def _fill_cells(out: Tensor, image: Tensor) -> None:
    """Write the leading classes of finite `image` (K, h, w) into `out` (H, W), cell by cell."""
    rows = _Axis.of(image.shape[1], out.shape[0], image.dtype)
    columns = _Axis.of(image.shape[2], out.shape[1], image.dtype)
    padded = F.pad(image.unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0]  # (K, h + 2, w + 2)
    leader, rivals = _rivals(padded)  # (h + 1, w + 1), (K, h + 1, w + 1)
    wide = leader.to(torch.uint8).index_select(1, columns.cell)  # (h + 1, W)
    torch.index_select(wide, 0, rows.cell, out=out)
    pixels = rows.pixels_per_cell.unsqueeze(1) * columns.pixels_per_cell  # (h + 1, w + 1)
    for cells, classes in _contests(rivals & (pixels > 0), int(pixels.max())):
        # place: (S, T, M), values: (R, S, T, M), for R classes in M cells of S x T pixels
        place, values = _interpolate(padded, (rows, columns), cells, classes)
        winner, best = classes[0].expand_as(values[0]), values[0]
        for rival, value in zip(classes[1:], values[1:], strict=True):
            winner = torch.where(value > best, rival, winner)
            best = torch.maximum(best, value)
        out.view(-1)[place] = winner.to(torch.uint8)


def _rivals(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Find the class that leads in each cell and those that do not trail it at every corner.

    Returns:
        The leader (cells down, cells across) and the mask of rivals, itself included,
        (K, cells down, cells across).
    """
    upper, lower = padded[:, :-1], padded[:, 1:]  # (K, cells down, w + 2)
    corners = upper[..., :-1], upper[..., 1:], lower[..., :-1], lower[..., 1:]
    sums = upper + lower
    # (1, cells down, cells across); max() finds indices faster than argmax() does on a CPU
    leader = (sums[..., :-1] + sums[..., 1:]).max(0, keepdim=True).indices
    rivals = torch.zeros_like(corners[0], dtype=torch.bool)
    for corner in corners:
        rivals |= corner >= corner.gather(0, leader)
    return leader[0], rivals


def _contests(rivals: Tensor, pixels_per_cell: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield flat indices of cells (M,) that have equally many rivals, and these (R, M)."""
    rivals = rivals.flatten(1).t().contiguous()  # (cells, K)
    counts = rivals.sum(1)  # (cells,)
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
    down, across = cells // (width - 1), cells % (width - 1)  # (M,)
    y, x = rows.pixels(down), columns.pixels(across)  # (S, M), (T, M)
    first = (classes * height + down) * width + across  # (R, M)
    # Upper left, lower left, upper right and lower right, each (R, 1, M).
    corners = [padded.take(first + step).unsqueeze(1) for step in (0, width, 1, width + 1)]
    left = torch.lerp(corners[0], corners[1], rows.weight[y])  # (R, S, M)
    right = torch.lerp(corners[2], corners[3], rows.weight[y])
    values = torch.lerp(left.unsqueeze(2), right.unsqueeze(2), columns.weight[x])  # (R, S, T, M)
    return y.unsqueeze(1) * len(columns.cell) + x, values
