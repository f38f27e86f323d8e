"""Computes the logits of images: the network of a predictor, prepared for inference."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from ddrnet.data.transforms import Normalize
from ddrnet.fusing import fuse
from ddrnet.labels import ClassLabel
from ddrnet.network import DDRNet
from ddrnet.predictor.strip_stem import StripStem

Precision = Literal["float32", "bfloat16", "float16"]
"""The dtype of weights and activations."""

BATCH_PIXELS = 1 << 22
"""Pixels of images that an accelerator computes together: two of 1024 x 2048. A CPU gains nothing
from batches."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma. Source: ITU-R BT.601."""


class Engine(Protocol):
    """Computes the logits of images, by whatever library.

    Attributes:
        classes: The class of each logit.
        in_chans: Channels of the images.
        batch_pixels: The most pixels of images that are computed together.
        size: The only height and width that it computes, in pixels; None for any.
    """

    classes: tuple[ClassLabel, ...]
    in_chans: int
    batch_pixels: int
    size: tuple[int, int] | None

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (N, K, ceil(H/8), ceil(W/8)), float32, on any device.

        Args:
            images: (N, C, H, W), uint8 or floats from 0 to 255, height and width at least 32; RGB
                also for one channel.

        Raises:
            ValueError: If the logits are not finite.
        """
        ...


class TorchEngine:
    """Runs a copy of a `DDRNet`; the caller's model stays as it is.

    The copy has no auxiliary head, and its activations are stored with channels innermost. On a
    CPU, normalisation and stem are computed in strips of rows.

    Args:
        model: The network.
        device: Where to compute; by default the accelerator, or the CPU without one.
        precision: Of weights and activations.
        fused: Whether convolutions contain the BatchNorm that follows them.
        compile: Whether torch compiles the network, which takes a while for each new size.

    Raises:
        ValueError: If the device cannot be used, or there is no such precision.
    """

    def __init__(
        self,
        model: DDRNet,
        *,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
        fused: bool = True,
        compile: bool = False,
    ) -> None:
        if precision not in get_args(Precision):
            names = ", ".join(get_args(Precision))
            raise ValueError(f"precision is one of {names}, got {precision!r}")
        network = fuse(model) if fused else model.without_aux_head().eval()
        network.aux_head, network.upsample = None, False
        network.requires_grad_(False).to(pick_device(device), getattr(torch, precision))
        self.network = network.to(memory_format=torch.channels_last)
        self.classes = network.classes
        self.in_chans = network.in_chans
        self.size: tuple[int, int] | None = None
        self.batch_pixels = 1 if pick_device(device).type == "cpu" else BATCH_PIXELS
        self._forward: Any = torch.compile(self.network) if compile else self.network
        self._strip_stem: StripStem | None = None
        if pick_device(device).type == "cpu" and not compile:  # torch would unroll the strips
            stem = copy.deepcopy(self.network.stem)
            self._strip_stem = StripStem(stem, partial(prepare, self.network))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (N, K, ceil(H/8), ceil(W/8)), float32, on the device.

        Args:
            images: (N, C, H, W), uint8 or floats from 0 to 255, height and width at least 32; RGB
                also for one channel.

        Raises:
            ValueError: If the logits are not finite.
        """
        logits = self.logits(self.prepared(images))
        check_logits(logits)  # an accelerator is done then
        return logits.float()

    @torch.inference_mode()
    def prepared(self, images: Tensor) -> Tensor:
        """Return images as `logits` takes them: normalised, except on a CPU without `compile`.

        Args:
            images: (N, C, H, W), as for a call of the engine.
        """
        if self._strip_stem is not None:
            return images
        return prepare(self.network, images).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(self, prepared: Tensor) -> Tensor:
        """Return the network's logits (N, K, ceil(H/8), ceil(W/8)), in its precision, unchecked."""
        if self._strip_stem is not None:
            return self.network.logits_after_stem(self._strip_stem(prepared))
        logits: Tensor = self._forward(prepared)
        return logits


def pick_device(device: torch.device | str | None = None) -> torch.device:
    """Return the named device; by default the accelerator, or the CPU without one.

    Raises:
        ValueError: If the device does not exist or cannot be used.
    """
    if device is None:
        found = torch.accelerator.is_available() and torch.accelerator.current_accelerator()
        return found or torch.device("cpu")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"the device {str(device)!r} cannot be used here ({reason}); expected cpu, cuda, "
            "cuda:1, mps"
        ) from error
    return torch.device(device)


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
        images: (N, C, H, W), uint8 or floats from 0 to 255; a model with one channel gets the luma
            of RGB.

    Raises:
        ValueError: If the model has another number of channels.
    """
    weight = next(model.parameters())
    normalize = Normalize.from_model(model).to(weight.device)
    return normalised(images.to(weight.device), normalize).to(weight.dtype)


def normalised(images: Tensor, normalize: Normalize) -> Tensor:
    """Return normalised images, float32.

    Args:
        images: (N, C, H, W), uint8 or floats from 0 to 255, on the device of `normalize`.
        normalize: The normalisation; one of a single channel gets the luma of RGB.

    Raises:
        ValueError: If it has another number of channels.
    """
    if (len(normalize.mean), images.shape[1]) == (1, 3):
        images = luma(images) / 255
    elif images.is_floating_point():
        images = images / 255
    found: Tensor = normalize(images)
    return found


def luma(images: Tensor) -> Tensor:
    """Return the luma of RGB images (N, 3, H, W): (N, 1, H, W) floats from 0 to 255, unrounded."""
    weights = torch.tensor(_LUMA, device=images.device).view(3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)
