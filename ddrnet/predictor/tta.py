"""Test-time augmentation: the averaged probabilities of several views of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ddrnet.upsampling import upsample_argmax
from ddrnet.upsampling.strips import Size, Strips

Network = Callable[[Tensor], Tensor]
"""Maps normalised images (N, C, H, W) to logits (N, K, h, w) at any stride."""


def predict_averaged(
    network: Network, images: Tensor, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Tensor:
    """Segment images by the mean of the class probabilities of several views.

    A view is the images resized by a scale, bilinearly with antialiasing. With `flip`, its mirror
    image is a second view. The logits of the views are upsampled to the size of the images, in
    strips, before the softmax. A single view takes the leading class of its logits: one scale of
    1 without `flip` equals `DDRNet.predict`.

    Args:
        network: A model in evaluation mode, called once per view.
        images: (N, C, H, W), floating point, normalised.
        scales: Factors of height and width, each above 0.
        flip: Whether each scale is also seen mirrored left and right.

    Returns:
        Class indices (N, H, W), uint8.

    Raises:
        ValueError: If there is no scale, one is not above 0, or there are more than 256 classes.
    """
    check_scales(scales)
    size = images.shape[-2:]
    with torch.no_grad():
        maps = [logits for scale in scales for logits in _views(network, images, scale, flip)]
        if len(maps) == 1:
            return upsample_argmax(maps[0], size)
        return torch.stack([_leaders(views, size) for views in zip(*maps, strict=True)])


def check_scales(scales: Sequence[float]) -> None:
    """Raise ValueError unless there are scales, each above 0."""
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"scales must be one or more factors above 0, such as 1.0, got {scales}")


def _views(network: Network, images: Tensor, scale: float, flip: bool) -> list[Tensor]:
    """Return the logits of one scale and, flipped back, those of its mirror image."""
    if scale != 1:
        size = [max(1, round(side * scale)) for side in images.shape[-2:]]
        resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        images = resized.to(images.dtype)  # (N, C, scale * H, scale * W)
    return [network(images)] + ([network(images.flip(-1)).flip(-1)] if flip else [])


def _leaders(views: Sequence[Tensor], size: Size) -> Tensor:
    """Return the likeliest class on average, (H, W), from the logits (K, h, w) of each view."""
    labels = torch.empty(size, dtype=torch.uint8, device=views[0].device)
    for strips in zip(*(Strips(view.float(), size) for view in views), strict=True):
        rows, logits = strips[0]
        total = logits.softmax(1)
        for _, others in strips[1:]:
            total += others.softmax(1)
        labels[rows] = total.max(1).indices
    return labels
