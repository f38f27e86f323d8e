"""Cross entropy of every pixel at full resolution, from logits at any stride."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddrnet.labels import IGNORE_INDEX
from ddrnet.upsampling.strips import Strips, check_maps

LOG2_E = math.log2(math.e)
"""exp(x) = exp2(x * LOG2_E), and torch's exp2 is three times as fast as its exp on a CPU."""

_LARGEST_SPREAD = 120.0
"""Largest difference of a position's base-2 logits that keeps the interpolated ones in range.

A pixel lies between four positions and takes at least a quarter of one of them, whose leading class
is 0. So that class is at least -3/4 of the spread in the pixel, and exp2 of it is no subnormal.
"""


def upsampled_cross_entropy(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """Return -log softmax at the target class of each pixel of the full-resolution logits.

    The same as `F.cross_entropy(upsample(logits, target.shape[1:]), target, reduction="none")`,
    forward and backward, but computed in strips of rows. Differentiable once. Half precision is
    computed in float32, inside autocast too.

    Args:
        logits: (N, K, h, w), floating point, at any stride.
        target: (N, H, W), class indices of any integer dtype.
        ignore_index: The label of pixels whose result and gradient are 0.

    Returns:
        (N, H, W), float32, or float64 where the logits are.

    Raises:
        ValueError: If shapes or dtypes do not fit; on a CPU also if a label is no class. Other
            devices would have to wait for that answer; there torch stops the kernel.
    """
    check_labels(logits, target, ignore_index)
    losses: Tensor = _UpsampledCrossEntropy.apply(_to_compute(logits), target, ignore_index)
    return losses


def summed_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the sum over all pixels of `weights` times `upsampled_cross_entropy`.

    The weights are known before the losses, so one pass over the strips computes the sum and its
    gradient, in half the time.

    Args:
        logits: (N, K, h, w), floating point, at any stride.
        target: (N, H, W), class indices that passed `check_labels`.
        weights: (N, H, W), float32, or float64 where the logits are; 0 for ignored pixels.

    Returns:
        A scalar of the dtype of `weights`.
    """
    total: Tensor = _SummedCrossEntropy.apply(_to_compute(logits), target, weights)
    return total


def check_labels(logits: Tensor, target: Tensor, ignore_index: int) -> None:
    """Raise ValueError as `upsampled_cross_entropy` does."""
    is_integer = not target.is_floating_point() and target.dtype != torch.bool
    if target.ndim != 3 or len(target) != len(logits) or not is_integer:
        raise ValueError(
            f"expected integer labels of shape ({len(logits)}, H, W) for logits of shape "
            f"{tuple(logits.shape)}, got {target.dtype} of shape {tuple(target.shape)}"
        )
    check_maps(logits, target.shape[1:])
    classes = logits.shape[1]
    if target.is_cpu:
        unknown = target < 0  # (N, H, W)
        if classes <= torch.iinfo(target.dtype).max:
            unknown |= target >= classes
        unknown &= counted_pixels(target, ignore_index)
        if unknown.any():
            raise ValueError(
                f"target holds the labels {torch.unique(target[unknown]).tolist()}, expected 0 to "
                f"{classes - 1} or the ignored {ignore_index}: map them to classes when the data "
                "is read"
            )


def counted_pixels(target: Tensor, ignore_index: int) -> Tensor:
    """Return the mask of pixels that count; a label that the dtype cannot hold ignores none."""
    info = torch.iinfo(target.dtype)
    if not info.min <= ignore_index <= info.max:
        return torch.ones_like(target, dtype=torch.bool)
    return target != ignore_index


def _to_compute(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


class _Parts(NamedTuple):
    """A strip of base-2 logits and, at each of its pixels, what the loss is computed from."""

    rows: slice
    strip: Tensor  # (rows, K, W)
    peak: Tensor | float  # (rows, 1, W): subtracted already, so that exp2 stays in range
    target: Tensor  # (rows, 1, W) int64: the class, any one where ignored
    label: Tensor  # (rows, 1, W): the class's value in the strip


class _Image:
    """One image at full resolution, in strips of base-2 logits.

    Each position's maximum is subtracted before the interpolation, which changes no softmax. On a
    CPU, nearly always nothing more is needed; other devices would have to wait for that answer.
    """

    def __init__(self, logits: Tensor, target: Tensor) -> None:
        below = (logits - logits.amax(0)).mul_(LOG2_E)  # (K, h, w)
        self.in_range = below.is_cpu and float(below.min()) >= -_LARGEST_SPREAD
        self.strips = Strips(below, target.shape)
        self.target = target
        self.classes = len(logits)

    def index(self, rows: slice) -> Tensor:
        """Return the classes of the pixels, (rows, 1, W) int64, any class where ignored."""
        return self.target[rows].unsqueeze(1).long().clamp(0, self.classes - 1)

    def parts(self) -> Iterator[_Parts]:
        for rows, strip in self.strips:  # strip: (rows, K, W)
            peak: Tensor | float = 0.0
            if not self.in_range:
                peak = strip.amax(1, keepdim=True)
                strip.sub_(peak)
            index = self.index(rows)
            yield _Parts(rows, strip, peak, index, strip.gather(1, index))


class _UpsampledCrossEntropy(torch.autograd.Function):
    """Saves one number per pixel for the backward pass: log2 of the sum of all exponentials."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
        losses = logits.new_empty(target.shape)  # (N, H, W)
        log2_sums = torch.empty_like(losses)
        for n, each in enumerate(logits):
            for rows, strip, peak, _, label in _Image(each, target[n]).parts():
                log2_sum = strip.exp2_().sum(1, keepdim=True).log2_()  # (rows, 1, W)
                losses[n, rows] = (log2_sum - label).squeeze(1)
                log2_sums[n, rows] = log2_sum.add_(peak).squeeze(1)
        losses.mul_(1 / LOG2_E).masked_fill_(~counted_pixels(target, ignore_index), 0)
        ctx.save_for_backward(logits, target, log2_sums)
        ctx.ignore_index = ignore_index
        return losses

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, None]:
        _refuse_second_derivative()
        logits, target, log2_sums = ctx.saved_tensors
        weights = weights.masked_fill(~counted_pixels(target, ctx.ignore_index), 0)
        gradient = torch.empty_like(logits)  # (N, K, h, w)
        for n, each in enumerate(logits):
            image = _Image(each, target[n])
            gradient[n] = image.strips.transposed(_gradients(image, weights[n], log2_sums[n]))
        return gradient, None, None


def _gradients(image: _Image, weights: Tensor, log2_sums: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (softmax - one-hot target) * weight (rows, K, W) for every strip."""
    for rows, strip in image.strips:
        weight = weights[rows].unsqueeze(1)  # (rows, 1, W)
        softmax = strip.sub_(log2_sums[rows].unsqueeze(1)).exp2_()  # (rows, K, W)
        yield rows, softmax.mul_(weight).scatter_add_(1, image.index(rows), -weight)


class _SummedCrossEntropy(torch.autograd.Function):
    """Computes the gradient in the forward pass and saves it alone: (N, K, h, w)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        total = weights.new_zeros(())
        gradient = torch.empty_like(logits)

        def gradients(image: _Image, weights: Tensor) -> Iterator[tuple[slice, Tensor]]:
            for rows, strip, _, index, label in image.parts():
                weight = weights[rows].unsqueeze(1)  # (rows, 1, W)
                exp2_sum = strip.exp2_().sum(1, keepdim=True)  # (rows, 1, W)
                total.add_(exp2_sum.log2().sub_(label).mul_(weight).sum())
                yield rows, strip.mul_(weight / exp2_sum).scatter_add_(1, index, -weight)

        for n, each in enumerate(logits):
            image = _Image(each, target[n])
            strips = gradients(image, weights[n])
            if ctx.needs_input_grad[0]:
                gradient[n] = image.strips.transposed(strips)
            else:
                deque(strips, maxlen=0)  # computes the sum
        ctx.save_for_backward(gradient)
        return total / LOG2_E

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, None, None]:
        _refuse_second_derivative()
        (gradient,) = ctx.saved_tensors
        return gradient * factor, None, None


def _refuse_second_derivative() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the upsampled cross entropy has no second derivative (create_graph=True): interpolate "
            "the logits and call F.cross_entropy where one is needed"
        )
