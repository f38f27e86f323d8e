"""The steps from a decoded image to its labels, and the choice of the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddrnet.data.transforms import Normalize
from ddrnet.labels import MAX_CLASSES
from ddrnet.network import DDRNet

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma. Source: ITU-R BT.601."""


def pick_device(name: str | None = None) -> torch.device:
    """Return the named device; by default the accelerator, or the CPU without one.

    Raises:
        ValueError: If the device does not exist or cannot be used.
    """
    if name is None:
        found = torch.accelerator.is_available() and torch.accelerator.current_accelerator()
        return found or torch.device("cpu")
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"the device {name!r} cannot be used here ({reason}); expected cpu, cuda, cuda:1, mps"
        ) from error
    return torch.device(name)


def check_model(model: DDRNet) -> None:
    """Check that a model can segment image files into label files.

    Raises:
        ValueError: If its images are neither RGB nor grey, or it has more than 256 classes.
    """
    if model.in_chans not in {1, 3}:
        raise ValueError(
            f"the model reads images of {model.in_chans} channels; image files have 3 (RGB) or "
            "1 (grey): call model.predict with your own tensors"
        )
    if model.num_classes > MAX_CLASSES:
        raise ValueError(
            f"the model has {model.num_classes} classes; label files hold at most {MAX_CLASSES}"
        )


def segment(model: DDRNet, image: Tensor) -> NDArray[np.uint8]:
    """Return the class index of every pixel, (H, W).

    Args:
        model: A model that `check_model` accepts, on any device.
        image: (3, H, W) uint8 RGB; a model with one channel gets its luma.

    Raises:
        ValueError: If the height or the width is below 32 pixels, or the logits are not finite.
    """
    images = prepare(model, image[None])
    hook = model.head.register_forward_hook(lambda head, features, logits: check_logits(logits))
    try:
        labels = model.predict(images)[0]  # (H, W)
    finally:
        hook.remove()
    return labels.to(torch.uint8).cpu().numpy()


def check_logits(logits: Tensor) -> None:
    """Check that logits are numbers; an accelerator has to wait for that.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    if not logits.isfinite().all():
        raise ValueError(
            "the model's logits are NaN or infinite: its weights are damaged, the image holds such "
            "values, or half precision overflows (try bfloat16 or float32)"
        )


def prepare(model: DDRNet, images: Tensor) -> Tensor:
    """Return normalised images on the device and in the dtype of a model.

    Args:
        model: A model on any device.
        images: (N, C, H, W) uint8; a model with one channel gets the luma of RGB.

    Raises:
        ValueError: If the model has another number of channels.
    """
    weight = next(model.parameters())
    images = images.to(weight.device)
    if (model.in_chans, images.shape[1]) == (1, 3):
        luma = torch.tensor(_LUMA, device=images.device).view(3, 1, 1) / 255
        images = (images * luma).sum(dim=1, keepdim=True)  # (N, 1, H, W) floats, 0-1, unrounded
    normalised: Tensor = Normalize.from_model(model).to(weight.device)(images)
    return normalised.to(weight.dtype)
