"""The steps of a prediction: decode -> network -> labels -> write.

`ddrnet.data.decoding.decode_image` is the first one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddrnet.data.transforms import Normalize
from ddrnet.labels import MAX_CLASSES
from ddrnet.network import DDRNet

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey. Source: ITU-R BT.601."""


def pick_device(name: str | None = None) -> torch.device:
    """Return the device of this name; by default the accelerator if there is one, else the CPU.

    Raises:
        ValueError: If there is no such device or it cannot be used.
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
    """Raise if a model cannot segment image files into label files.

    Raises:
        ValueError: If it reads other images than RGB or grey, or has more than 256 classes.
    """
    if model.in_chans not in {1, 3}:
        raise ValueError(
            f"the model reads images of {model.in_chans} channels; image files have 3 (RGB) or "
            "1 (grey): call model.predict with tensors of your own"
        )
    if model.num_classes > MAX_CLASSES:
        raise ValueError(
            f"the model has {model.num_classes} classes; label files hold at most {MAX_CLASSES}"
        )


def segment(model: DDRNet, image: Tensor) -> NDArray[np.uint8]:
    """Return the class index of every pixel, (H, W).

    Args:
        model: A model that `check_model` accepts, on any device.
        image: (3, H, W) uint8 RGB; a model of one channel sees its luma.

    Raises:
        ValueError: If the image is smaller than 32 pixels in a direction.
    """
    labels = model.predict(prepare(model, image[None]))[0]
    return labels.to(torch.uint8).cpu().numpy()


def prepare(model: DDRNet, images: Tensor) -> Tensor:
    """Return images as the model takes them: normalised, on its device, in its dtype.

    Args:
        model: A model on any device.
        images: (N, C, H, W) uint8; of RGB a model of one channel sees the luma.

    Raises:
        ValueError: If the model takes other channels.
    """
    weight = next(model.parameters())
    images = images.to(weight.device)
    if (model.in_chans, images.shape[1]) == (1, 3):
        images = _luma(images)
    normalised: Tensor = Normalize.from_model(model).to(weight.device)(images)
    return normalised.to(weight.dtype)


def _luma(images: Tensor) -> Tensor:
    """Map (N, 3, H, W) uint8 to (N, 1, H, W) floats from 0 to 1, unrounded."""
    weights = torch.tensor(_LUMA, device=images.device).view(3, 1, 1) / 255
    return (images * weights).sum(dim=1, keepdim=True)
