"""Bilinear interpolation, whole or in strips of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

Size = torch.Size | tuple[int, int]
"""Height and width, in pixels."""

CPU_STRIP = 2**19
"""Interpolated values held at a time on a CPU: few enough to stay in its cache, 2 MiB."""

DEVICE_STRIP = 2**24
"""The same on other devices: enough to keep them busy, 64 MiB."""


def upsample(features: Tensor, size: Size) -> Tensor:
    """Interpolate (N, C, h, w) bilinearly to `(N, C, *size)`; pixel centres keep their place."""
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


def source_positions(length: int, size: int, like: Tensor) -> Tensor:
    """Return where the centres of `size` output pixels lie among `length` input pixels.

    Args:
        length: Input pixels.
        size: Output pixels.
        like: Gives the dtype and the device of the result.

    Returns:
        (size,), from -0.5 on; 0 is the centre of the first input pixel.
    """
    centres = torch.arange(size, dtype=like.dtype, device=like.device) + 0.5
    return centres * (length / size) - 0.5


def check_maps(logits: Tensor, size: Size) -> None:
    """Raise ValueError unless `logits` (N, K, h, w) can be interpolated to `size`."""
    if logits.ndim != 4 or not logits.is_floating_point() or 0 in logits.shape[1:]:
        raise ValueError(
            "expected floating-point logits of shape (N, K, h, w), got "
            f"{logits.dtype} of shape {tuple(logits.shape)}"
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"expected a height and a width of at least 1 pixel, got {tuple(size)}")


class Strips:
    """Interpolates one image to full size: first horizontally, then vertically in strips of rows.

    Args:
        logits: (K, h, w), float32 or float64.
        size: Height and width of the full size, in pixels.
    """

    def __init__(self, logits: Tensor, size: Size) -> None:
        self._logits = logits.contiguous()  # rows of channels_last maps are slow to gather
        self._height, self._width = size
        position = source_positions(logits.shape[1], self._height, logits).clamp_(min=0)
        self._upper = position.long()  # (height,)
        self._lower = (self._upper + 1).clamp_(max=logits.shape[1] - 1)
        self._weight = (position - self._upper)[:, None, None]  # (height, 1, 1)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of rows and their logits (rows, K, width), from top to bottom.

        Every strip reuses the memory of the one before, so callers may change it but not keep it.
        Fresh pages would cost more time than the computation itself.
        """
        # Interpolated horizontally, rows first: (h, K, 1, w) to (h, K, width).
        wide = upsample(self._logits.transpose(0, 1).unsqueeze(2), (1, self._width)).squeeze(2)
        rows = max(1, (CPU_STRIP if wide.is_cpu else DEVICE_STRIP) // wide[0].numel())
        factor, rest = divmod(self._height, len(wide))
        if rest or factor == 1:
            return self._gathered(wide, rows)
        return self._repeated(wide, factor, rows // factor)

    def _gathered(self, wide: Tensor, step: int) -> Iterator[tuple[slice, Tensor]]:
        """Interpolate (h, K, width) vertically by any factor, `step` rows at a time."""
        memory = [wide.new_empty(min(step, self._height), *wide.shape[1:]) for _ in range(2)]
        for start in range(0, self._height, step):
            rows = slice(start, min(start + step, self._height))
            upper, lower = (part[: rows.stop - start] for part in memory)  # (rows, K, width)
            torch.index_select(wide, 0, self._upper[rows], out=upper)
            torch.index_select(wide, 0, self._lower[rows], out=lower)
            yield rows, upper.lerp_(lower, self._weight[rows])

    def _repeated(self, wide: Tensor, factor: int, step: int) -> Iterator[tuple[slice, Tensor]]:
        """Interpolate (h, K, width) vertically by a whole factor, `step` pairs of rows at a time.

        The weights between two neighbouring rows repeat, so that no row is gathered.
        """
        pairs, step = len(wide) + 1, max(1, step)
        wide = torch.cat([wide[:1], wide, wide[-1:]])  # (h + 2, K, width)
        middle = factor // 2  # the first row between the centres of two input pixels
        weight = source_positions(2, 2 * factor, wide)[middle : middle + factor]
        memory = wide.new_empty(min(step, pairs), factor, *wide.shape[1:])
        for pair in range(0, pairs, step):
            upper, lower = wide[pair:-1][:step, None], wide[pair + 1 :][:step, None]
            strip = memory[: len(upper)]  # (pairs, factor, K, width)
            torch.lerp(upper, lower, weight.view(-1, 1, 1), out=strip)
            first = pair * factor - (factor - middle)
            rows = slice(max(first, 0), min(first + len(upper) * factor, self._height))
            yield rows, strip.flatten(0, 1)[rows.start - first : rows.stop - first]

    def transposed(self, strips: Iterator[tuple[slice, Tensor]]) -> Tensor:
        """Return the gradient (K, h, w) that follows from the gradient of every strip."""
        height, width = self._logits.shape[1:]
        rows_from = _interpolation(self._height, height, self._logits)  # (self._height, h)
        columns_from = _interpolation(self._width, width, self._logits)  # (self._width, w)
        wide = self._logits.new_zeros(height, len(self._logits), self._width)  # (h, K, self._width)
        for rows, gradient in strips:  # gradient: (rows, K, self._width)
            source = self._source_rows(rows)
            part = wide[source].flatten(1)  # a view: the gradient is added in place
            part.addmm_(rows_from[rows, source].T, gradient.flatten(1))
        narrow = wide.new_zeros(*wide.shape[:2], width)  # (h, K, w)
        narrow.flatten(0, 1).addmm_(wide.flatten(0, 1), columns_from)
        return narrow.transpose(0, 1)

    def _source_rows(self, rows: slice) -> slice:
        """Return the rows of the logits that `rows` of the full size depend on.

        All of them except on a CPU: other devices would have to wait for the answer.
        """
        if not self._upper.is_cpu:
            return slice(None)
        return slice(int(self._upper[rows][0]), int(self._lower[rows][-1]) + 1)


def _interpolation(size: int, length: int, like: Tensor) -> Tensor:
    """Return the matrix (size, length) that interpolates `length` pixels to `size`."""
    identity = torch.eye(length, dtype=like.dtype, device=like.device)
    return upsample(identity[None, None], (size, length))[0, 0]
