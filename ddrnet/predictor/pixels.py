"""Reads one image of any kind as (C, H, W) bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddrnet.data.decoding import decode_image, image_pixels
from ddrnet.files import StrPath

Picture = StrPath | Image.Image | NDArray[np.uint8] | Tensor
"""A path, an http(s) address, a Pillow image, an array (H, W[, C]) or tensor (C, H, W) of uint8."""


def is_address(source: Any) -> bool:
    """Whether a source is an http(s) address."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def read_pixels(source: Any, channels: int) -> Tensor:
    """Return an image as (C, H, W) uint8, C being the model's channels or RGB.

    Args:
        source: A `Picture`. An array has the model's channels, or is grey or RGB, or RGB with an
            alpha channel, which is dropped. Grey becomes RGB.
        channels: Channels that the model reads. Models of one channel read RGB too.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `source` is of another type.
        ValueError: If it cannot be read, or has other channels or values.
    """
    if is_address(source):
        image = _fetched(source)
    elif isinstance(source, str) and "://" in source:
        raise ValueError(f"cannot fetch {source}: expected an http or https address")
    elif isinstance(source, str | Path):
        image = decode_image(Path(source).expanduser())
    elif isinstance(source, Image.Image):
        image = torch.from_numpy(image_pixels(source)).permute(2, 0, 1)
    elif isinstance(source, np.ndarray | Tensor):
        image = _from_array(source)
    else:
        raise TypeError(
            "expected a path, an http(s) address, a Pillow image, an array or a tensor, got "
            f"{type(source).__name__}"
        )
    return _with_channels(image, channels)


def _from_array(source: NDArray[Any] | Tensor) -> Tensor:
    """Return an array (H, W[, C]) or a tensor (C, H, W) as (C, H, W)."""
    dims = (2, 3) if isinstance(source, np.ndarray) else (3,)
    if str(source.dtype).removeprefix("torch.") != "uint8" or source.ndim not in dims:
        raise ValueError(
            "expected an array (H, W) or (H, W, C) or a tensor (C, H, W) of uint8, got "
            f"{source.dtype} {tuple(source.shape)}"
        )
    if 0 in source.shape:
        raise ValueError(f"the image has no pixels: its shape is {tuple(source.shape)}")
    if isinstance(source, Tensor):
        return source.detach().to("cpu", copy=True)
    array = source[:, :, None] if source.ndim == 2 else source
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)


def _with_channels(image: Tensor, channels: int) -> Tensor:
    """Return (C, H, W) with the model's channels, or RGB for a model of one channel."""
    given = len(image)
    if given == channels or (given == 3 and channels == 1):
        return image
    if given == 1 and channels == 3:
        return image.expand(3, -1, -1)
    if given == 4 and channels in {1, 3}:
        return image[:3]
    raise ValueError(f"the image has {given} channels, the model reads {channels}")


def _fetched(address: str) -> Tensor:
    """Return the image at an http(s) address."""
    from ddrnet.pretrained.connections import SourceError
    from ddrnet.pretrained.download import download
    from ddrnet.weights.row import WebFile

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "image"
        try:
            download(WebFile((address,)), target)
            return decode_image(target)
        except (SourceError, ValueError) as error:
            reason = str(error).replace(str(target), address)
            raise ValueError(f"cannot fetch {address}: {reason}") from error
