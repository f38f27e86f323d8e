"""Image and label files as tensors: every common format and mode, one error for unreadable files.

Pillow decodes all but one kind: of PNG with 16 bits in several channels it keeps 8, so torchvision
decodes those. torchvision would take 3 ms less for a JPEG of 2048 x 1024, but 1.6 s to import; its
PNG decoder takes the process down with it when a file is damaged; and it is deprecated since 0.29.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from ddrnet.files import StrPath

_DEEP_COLORS = frozenset({"LA;16B", "RGB;16B", "RGBA;16B"})
"""How Pillow names 16 bits in several channels."""

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for broken files, by format and by where they break."""


def decode_image(path: StrPath) -> Tensor:
    """Return an image file as (3, H, W) uint8 RGB, upright as its EXIF orientation says.

    PNG, JPEG, WebP, BMP, TIFF and what else Pillow reads; of several frames, the first. Grey,
    palette, CMYK and 1-bit images are converted to RGB; an alpha channel is dropped, not blended.
    16-bit values are divided by 257 and rounded, except in TIFF files with several channels, of
    which Pillow gives the high byte.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, truncated, no image, or holds values beyond 16 bits.
    """
    with _opened(path) as image:
        if _raw_mode(image) in _DEEP_COLORS:
            image.load()  # torchvision must not meet a damaged file
            _verify(path)
            decoded = _torchvision_decoded(path)
            if decoded is not None:
                return decoded
        ImageOps.exif_transpose(image, in_place=True)
        return torch.from_numpy(_pillow_rgb(image)).permute(2, 0, 1)


def decode_labels(path: StrPath) -> NDArray[Any]:
    """Return a label file as stored: (H, W) integers, or (H, W, 3) uint8 if it holds colours.

    A palette file gives its indices. Grey files of 1, 2, 4, 8 or 16 bits give their values
    unscaled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is unreadable, compressed with loss, or of a mode labels have not.
    """
    with _opened(path) as image:
        if image.format == "JPEG":
            raise ValueError("JPEG blurs label values; labels need PNG")
        if image.mode in {"RGB", "RGBA"}:
            return np.array(image.convert("RGB"))
        if image.mode not in {"1", "L", "P"} and not image.mode.startswith("I"):
            raise ValueError(f"labels are grey, palette or RGB images, got mode {image.mode!r}")
        stretch = {"L;2": 85, "L;4": 17}.get(_raw_mode(image), 1)  # Pillow fills 8 bits
        values = np.array(image)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values // stretch if stretch > 1 else values


def image_size(path: StrPath) -> tuple[int, int]:
    """Return the height and width in an image file's header, before any EXIF rotation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no image.
    """
    with _opened(path) as image:
        return image.height, image.width


@contextmanager
def _opened(path: StrPath) -> Iterator[ImageFile.ImageFile]:
    try:
        with Image.open(path) as image:
            yield image
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except _UNREADABLE as error:
        size = os.path.getsize(path)
        raise ValueError(
            f"cannot read {os.fspath(path)!r} ({size} bytes) as an image: "
            f"{'the file is empty' if size == 0 else error}"
        ) from error


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Return how the file packs its pixels; only PNG files say so in one word."""
    return str(image.tile[0][3]) if image.format == "PNG" and image.tile else ""


def _verify(path: StrPath) -> None:
    with Image.open(path) as image:
        image.verify()


def _torchvision_decoded(path: StrPath) -> Tensor | None:
    """Return a 16-bit PNG as (3, H, W) uint8; None where torchvision cannot or no longer does."""
    try:
        from torchvision import io

        decoded = io.decode_image(os.fspath(path), io.ImageReadMode.RGB, True)
    except (ImportError, AttributeError, RuntimeError, DeprecationWarning):
        return None
    return torch.from_numpy(_eight_bits(decoded.numpy()))


def _pillow_rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Return (H, W, 3) pixels."""
    if not image.mode.startswith(("I", "F")):
        image.info.pop("transparency", None)  # Pillow warns of what is meant here
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    values = np.array(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"expected 8 or 16 bits per channel, got mode {image.mode!r} with values from "
            f"{values.min()} to {values.max()}"
        )
    return np.repeat(_eight_bits(values)[:, :, None], 3, axis=2)


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    return ((values.astype(np.int32) + 128) // 257).astype(np.uint8)
