"""Label maps from one view of an image, or from the mean of several (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ddrnet.labels import MAX_CLASSES
from ddrnet.upsampling import upsample_argmax, upsampled_confidence
from ddrnet.upsampling.strips import Size, Strips

Network = Callable[[Tensor], Tensor]
"""Maps images (N, C, H, W) to logits (N, K, h, w) at any stride."""


class LabelMaps(NamedTuple):
    """The result of a batch.

    Attributes:
        labels: (N, H, W) uint8 class indices.
        confidence: (N, H, W) float32, probability of the class, 0-1; None if not asked for.
    """

    labels: Tensor
    confidence: Tensor | None


def predict_averaged(
    network: Network, images: Tensor, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Tensor:
    """Segment images by the mean of the class probabilities of several views.

    The logits of the views are upsampled to the size of the images, in strips, before the softmax.
    A single view takes the leading class of its logits: one scale of 1 without `flip` equals
    `DDRNet.predict`.

    Args:
        network: A model in evaluation mode, called once per view.
        images: (N, C, H, W), as the network takes them.
        scales: Factors of height and width, each above 0.
        flip: Whether each scale is also seen mirrored left and right.

    Returns:
        Class indices (N, H, W), uint8.

    Raises:
        ValueError: If there is no scale, one is not above 0, or there are more than 256 classes.
    """
    check_scales(scales)
    with torch.no_grad():
        return label_maps(views(network, images, scales, flip), images.shape[-2:]).labels


def check_scales(scales: Sequence[float]) -> None:
    """Raise ValueError unless there are scales, each above 0."""
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"scales must be one or more factors above 0, such as 1.0, got {scales}")


def views(network: Network, images: Tensor, scales: Sequence[float], flip: bool) -> list[Tensor]:
    """Return the logits of each scale and, with `flip`, those of its mirror image, flipped back.

    Args:
        network: Called once per view.
        images: (N, C, H, W), as the network takes them.
        scales: Factors of height and width, each above 0.
        flip: Whether each scale is also seen mirrored left and right.
    """
    maps: list[Tensor] = []
    for scale in scales:
        size = [max(1, round(side * scale)) for side in images.shape[-2:]]
        seen = resized(images, size)  # (N, C, scale * H, scale * W)
        maps.append(network(seen))
        if flip:
            maps.append(network(seen.flip(-1)).flip(-1))
    return maps


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (N, C, H, W) bilinearly with antialiasing; bytes become floats, unrounded."""
    if list(images.shape[-2:]) == list(size):
        return images
    values = F.interpolate(images.float(), list(size), mode="bilinear", antialias=True)
    return values.to(images.dtype) if images.is_floating_point() else values


def label_maps(maps: Sequence[Tensor], size: Size, confidence: bool = False) -> LabelMaps:
    """Return the likeliest class of every pixel: by the logits of one view, or on average.

    Args:
        maps: The logits (N, K, h, w) of each view.
        size: Height and width of the result, in pixels.
        confidence: Whether to return the probabilities of the classes too.

    Raises:
        ValueError: If there are more than 256 classes.
    """
    if len(maps) == 1:
        found = upsampled_confidence(maps[0], size) if confidence else None
        return LabelMaps(upsample_argmax(maps[0], size), found)
    if maps[0].shape[1] > MAX_CLASSES:
        raise ValueError(f"8-bit labels hold {MAX_CLASSES} classes, got {maps[0].shape[1]}")
    shape = (len(maps[0]), *size)
    labels = torch.empty(shape, dtype=torch.uint8, device=maps[0].device)
    found = torch.empty(shape, device=maps[0].device) if confidence else None
    for index, image_views in enumerate(zip(*maps, strict=True)):  # a view: (K, h, w)
        for strips in zip(*(Strips(view.float(), size) for view in image_views), strict=True):
            rows, logits = strips[0]
            total = logits.softmax(1)  # (rows, K, W)
            for _, others in strips[1:]:
                total += others.softmax(1)
            best, labels[index, rows] = total.max(1)
            if found is not None:
                found[index, rows] = best / len(maps)
    return LabelMaps(labels, found)
