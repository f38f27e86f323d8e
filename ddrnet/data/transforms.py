"""Transforms of an image and its labels between the file and the network.

Pixels stay uint8 on the host; `Normalize` runs on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import v2

from ddrnet.labels import IGNORE_INDEX
from ddrnet.weights.row import Preprocessing

PAD_VALUE = 114
"""Fills crops beyond the border of an image: ImageNet's mean, about 0 after normalisation."""

_ATTEMPTS = 10
"""Positions tried to find a crop in which no class exceeds its largest share.

Source: mmsegmentation, `RandomCrop.cat_max_ratio`.
"""


def train_transform(
    crop_size: int | tuple[int, int] = 1024,
    *,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: float = 0.5,
    max_class_share: float | None = None,
    color_jitter: float | None = None,
) -> v2.Compose:
    """Return the published augmentation: scale, crop, flip and, on request, colour jitter.

    Args:
        crop_size: The side of the output, or its height and width, in pixels.
        scale: The range of the enlargement, drawn uniformly.
        flip: The probability of mirroring left and right.
        max_class_share: The largest share of one class in the labelled pixels of a crop, 0-1. Up to
            ten positions are tried; if all exceed the share, the tenth is taken. None takes the
            first.
        color_jitter: Brightness, contrast and saturation change by factors from 1 - `color_jitter`
            to 1 + `color_jitter`. None keeps the colours.

    Raises:
        ValueError: If a number is out of range.
    """
    _check_number("flip", flip, 0, 1)
    steps: list[nn.Module] = [RandomScaleCrop(crop_size, scale, max_class_share)]
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if color_jitter is not None:
        _check_number("color_jitter", color_jitter, 0, float("inf"))
        steps.append(v2.ColorJitter(*(color_jitter,) * 3))
    return v2.Compose(steps)


def eval_transform() -> v2.Transform:
    """Return the transform for evaluation: whole images, unchanged."""
    return v2.Identity()


class RandomScaleCrop(nn.Module):
    """Crop an image and its labels after a resize by a random factor.

    The window is drawn first, and only its pixels are read and resized. The crops are those of a
    resized whole image: the same factors, every position equally likely, positions rounded to
    source instead of target pixels. Images are resized bilinearly with antialiasing; labels take
    the value under the centre of each pixel. Crops beyond the lower and right border of the image
    are filled with `PAD_VALUE` in the image and 255 in the labels.

    Args:
        crop_size: The side of the output, or its height and width, in pixels.
        scale: The range of the factor, drawn uniformly.
        max_class_share: The largest share of one class, as in `train_transform`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        max_class_share: float | None = None,
    ) -> None:
        super().__init__()
        height, width = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        _check_number("crop_size", min(height, width), 1, float("inf"))
        if not 1e-3 <= scale[0] <= scale[1]:
            raise ValueError(f"scale is a range from 0.001 up, its lower end first, got {scale}")
        if max_class_share is not None:
            _check_number("max_class_share", max_class_share, 0, 1)
        self.crop_size = height, width
        self.scale = scale
        self.max_class_share = max_class_share

    def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return a `tv_tensors.Image` (C, h, w) uint8 and a `tv_tensors.Mask` (h, w).

        Args:
            image: (C, H, W) uint8.
            labels: (H, W) uint8.
        """
        image, labels = image.as_subclass(Tensor), labels.as_subclass(Tensor)
        (rows, height), (cols, width) = self._window(labels)
        window, size = (..., rows, cols), (height, width)
        image = F.interpolate(image[window][None], size, mode="bilinear", antialias=True)[0]
        labels = F.interpolate(labels[window][None, None], size, mode="nearest-exact")[0, 0]
        missing = (0, self.crop_size[1] - width, 0, self.crop_size[0] - height)
        return (
            tv_tensors.Image(F.pad(image, missing, value=PAD_VALUE)),
            tv_tensors.Mask(F.pad(labels, missing, value=IGNORE_INDEX)),
        )

    def extra_repr(self) -> str:
        """Return the settings for `repr`."""
        return f"{self.crop_size}, scale={self.scale}, max_class_share={self.max_class_share}"

    def _window(self, labels: Tensor) -> tuple[_Span, _Span]:
        factor = float(torch.empty(()).uniform_(*self.scale))
        for _ in range(_ATTEMPTS):
            rows = _random_span(labels.shape[0], self.crop_size[0], factor)
            cols = _random_span(labels.shape[1], self.crop_size[1], factor)
            if self.max_class_share is None:
                break
            if _largest_share(labels[rows.source, cols.source]) <= self.max_class_share:
                break
        return rows, cols


class Normalize(nn.Module):
    """Scales images to 0-1, subtracts the mean and divides by the standard deviation.

    It is a module, so it can precede the model and run on its device.

    Args:
        mean: One number per channel, for images scaled to 0-1.
        std: One number per channel, above 0.

    Raises:
        ValueError: If `mean` and `std` differ in length, or a deviation is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ValueError(
                f"mean and std need one number per channel, std above 0, got {mean} and {std}"
            )
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_model(cls, model: _Preprocessed) -> Normalize:
        """Return the normalisation of the training of a model's weights."""
        return cls(model.preprocessing.mean, model.preprocessing.std)

    def forward(self, images: Tensor) -> Tensor:
        """Return float images of the same shape.

        Args:
            images: (N, C, H, W) or (C, H, W); uint8 from 0 to 255, or floats from 0 to 1.

        Raises:
            ValueError: If the number of channels differs, or the images have another integer type.
        """
        if images.shape[-3] != len(self.mean):
            raise ValueError(
                f"expected images of {len(self.mean)} channels, (N, C, H, W), "
                f"got shape {tuple(images.shape)}"
            )
        if images.dtype == torch.uint8:
            # In one dtype and in place: four times faster on a CPU than mixed dtypes.
            return images.to(self.mean.dtype).sub_(255 * self.mean).div_(255 * self.std)
        if not images.is_floating_point():
            raise ValueError(f"expected uint8 or floating-point images, got {images.dtype}")
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Return the statistics for `repr`."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class _Preprocessed(Protocol):
    @property
    def preprocessing(self) -> Preprocessing: ...


class _Span(NamedTuple):
    source: slice
    size: int  # of the target, in pixels


def _random_span(size: int, crop: int, factor: float) -> _Span:
    """Draw the window along one axis, and return it with its size after the resize."""
    if size * factor <= crop:
        return _Span(slice(0, size), max(1, round(size * factor)))
    taken = min(size, max(1, round(crop / factor)))
    start = int(torch.randint(size - taken + 1, ()))
    return _Span(slice(start, start + taken), crop)


def _largest_share(labels: Tensor) -> float:
    """Return the largest share of a class in the labelled pixels; 1 without labelled pixels."""
    counts = labels.flatten().bincount(minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX]
    labelled = int(counts.sum())
    return int(counts.max()) / labelled if labelled else 1.0


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must lie between {least} and {most}, got {value}")
