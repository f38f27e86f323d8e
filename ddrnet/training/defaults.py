"""Settings that fit the data and the device, where a run asks for `auto`."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch

from ddrnet.data import SegmentationDataset
from ddrnet.labels import CITYSCAPES
from ddrnet.training.settings import Settings

logger = logging.getLogger(__name__)

_CROP = 1024
"""Side of the crops in all published trainings."""

_IMAGES_SEEN = 8
"""Number of images whose sizes limit the crops."""


def on_cpu(settings: Settings) -> bool:
    """Whether a run computes on the CPU."""
    return settings.cpu or not torch.accelerator.is_available()


def fitted(settings: Settings, dataset: SegmentationDataset) -> Settings:
    """Choose the settings that were left open, and log each choice with its reason.

    Raises:
        ValueError: If a given value does not fit.
    """
    if settings.precision == "fp16" and on_cpu(settings):
        raise ValueError("a CPU does not train in fp16: pass --precision bf16 or no")
    names = [row.name for row in dataset.classes]
    are_cityscapes = names == [row.name for row in CITYSCAPES.classes]
    if settings.class_weights == "cityscapes" and not are_cityscapes:
        raise ValueError(
            f"the cityscapes class weights are of its 19 classes, not of the {len(names)} of "
            "this data: pass --class-weights inverse_log, median_frequency or none"
        )
    chosen: dict[str, Any] = {}
    if settings.crop_size is None:
        chosen["crop_size"], reason = _crop_size(dataset)
        logger.info("--crop-size %dx%d: %s", *chosen["crop_size"], reason)
    if settings.precision == "auto":
        chosen["precision"], reason = _precision(settings)
        logger.info("--precision %s: %s", chosen["precision"], reason)
    if settings.class_weights == "auto":
        chosen["class_weights"] = "cityscapes" if are_cityscapes else "none"
        found = "class weights" if are_cityscapes else "no class weights"
        weights = chosen["class_weights"]
        logger.info("--class-weights %s: %s are published for these classes", weights, found)
    return replace(settings, **chosen)


def _crop_size(dataset: SegmentationDataset) -> tuple[tuple[int, int], str]:
    """Return the published crop size, limited by the sizes of a few images, and the reason."""
    step = max(1, len(dataset) // _IMAGES_SEEN)
    sizes = [dataset.read(index)[0].shape[1:] for index in range(0, len(dataset), step)]
    height, width = (min(sides) for sides in zip(*sizes, strict=True))
    crop = min(height, _CROP), min(width, _CROP)
    if crop == (_CROP, _CROP):
        return crop, "the published size"
    return crop, f"not above the size of the images, {height}x{width}"


def _precision(settings: Settings) -> tuple[str, str]:
    """Return the precision that suits the device, and the reason."""
    if on_cpu(settings) or not torch.cuda.is_available():
        return "no", "without CUDA, float32 is the safe choice"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "this GPU computes in it, and it needs no loss scaling"
    return "fp16", "this GPU does not compute in bf16"
