"""Cross entropy of every pixel at full resolution, from logits at any stride."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ddrnet.labels import IGNORE_INDEX
from ddrnet.upsampling.strips import Strips, check_maps

LOG2_E = math.log2(math.e)
"""exp(x) = exp2(x * LOG2_E), and torch's exp2 is three times as fast as its exp on a CPU."""


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
    is_integer = not target.is_floating_point() and target.dtype != torch.bool
    if target.ndim != 3 or len(target) != len(logits) or not is_integer:
        raise ValueError(
            f"expected integer labels of shape ({len(logits)}, H, W) for logits of shape "
            f"{tuple(logits.shape)}, got {target.dtype} of shape {tuple(target.shape)}"
        )
    check_maps(logits, target.shape[1:])
    if logits.dtype != torch.float64:
        logits = logits.float()
    losses: Tensor = _UpsampledCrossEntropy.apply(logits, target, ignore_index)
    return losses


class _UpsampledCrossEntropy(torch.autograd.Function):
    """Saves one number per pixel for the backward pass: log2 of the sum of all exponentials."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
        losses = logits.new_empty(target.shape)  # (N, H, W)
        log2_sums = torch.empty_like(losses)
        for n, image in enumerate(logits):
            for rows, strip in Strips(image * LOG2_E, target.shape[1:]):  # strip: (rows, K, W)
                index, ignored = _class_index(target[n, rows], len(image), ignore_index)
                # peak, label, log2_sum and loss are (rows, 1, W).
                peak = strip.amax(1, keepdim=True)
                label = strip.sub_(peak).gather(1, index)
                log2_sum = strip.exp2_().sum(1, keepdim=True).log2_()
                loss = label.neg_().add_(log2_sum).mul_(1 / LOG2_E)
                losses[n, rows] = loss.masked_fill_(ignored, 0).squeeze(1)
                log2_sums[n, rows] = log2_sum.add_(peak).squeeze(1)
        ctx.save_for_backward(logits, target, log2_sums)
        ctx.ignore_index = ignore_index
        return losses

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "upsampled_cross_entropy has no second derivative (create_graph=True): interpolate "
                "the logits and call F.cross_entropy where one is needed"
            )
        logits, target, log2_sums = ctx.saved_tensors
        gradient = torch.empty_like(logits)  # (N, K, h, w)
        for n, image in enumerate(logits):
            strips = Strips(image * LOG2_E, target.shape[1:])
            per_pixel = weights[n], target[n], log2_sums[n]  # each (H, W)
            gradient[n] = strips.transposed(_gradients(strips, *per_pixel, ctx.ignore_index))
        return gradient, None, None


def _gradients(
    strips: Strips, weights: Tensor, target: Tensor, log2_sums: Tensor, ignore_index: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (softmax - one-hot target) * weight (rows, K, W) for every strip of base-2 logits."""
    for rows, strip in strips:
        index, ignored = _class_index(target[rows], strip.shape[1], ignore_index)
        weight = weights[rows].unsqueeze(1).masked_fill(ignored, 0)  # (rows, 1, W)
        softmax = strip.sub_(log2_sums[rows].unsqueeze(1)).exp2_()  # (rows, K, W)
        yield rows, softmax.mul_(weight).scatter_add_(1, index, -weight)


def _class_index(target: Tensor, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return int64 indices, 0 where ignored, and the mask of ignored pixels, both (rows, 1, W)."""
    labels = target.unsqueeze(1).long()  # (rows, 1, W)
    ignored = labels == ignore_index
    index = labels.masked_fill(ignored, 0)
    if index.is_cpu and not 0 <= int(index.min()) <= int(index.max()) < classes:
        wrong = torch.unique(index[(index < 0) | (index >= classes)]).tolist()
        raise ValueError(
            f"target holds the labels {wrong}, expected 0 to {classes - 1} or the ignored "
            f"{ignore_index}: map them to classes when the data is read"
        )
    return index, ignored
