"""Decodes image and label files of every common format and mode; unreadable files give one error.

Pillow decodes all of them. torchvision would save 3 ms for a JPEG of 2048 x 1024, but its import
takes 1.6 s, a damaged PNG file crashes the process in its decoder, and its decoders are deprecated.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from ddrnet.files import StrPath

FORMATS = (
    *("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA"),
    *(("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()),  # since Pillow 11.3
)
"""The accepted formats, whatever the name of the file. Other formats of Pillow start programs
(Ghostscript for EPS) or hold no photographs."""

MAX_PIXELS = 178_956_970
"""The default limit of pixels in an image. Pillow raises an error above the same number."""

_ANIMATED_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng", ".avif"})
"""Other files are never opened to count their frames. Pages of a TIFF are no animation."""

_USUAL_DURATION = 100
"""Milliseconds of a frame that states none. Source: WebKit, ImageDecoderCG.cpp, which follows
Firefox."""

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    OverflowError,
    LookupError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""Pillow's errors for broken files; they depend on the format and on the damage."""

_BOMB_PIXELS, _BOMB_RATIO = 1 << 25, 64
"""A file with more pixels than the first must have a byte per `_BOMB_RATIO` pixels."""

_LABEL_RATIO = 8256
"""The same for grey and palette labels, which compress far better: the limit of PNG with 1 bit."""

_MAX_SCANS = 50
"""Encoders write about ten scans into a progressive JPEG; each scan passes over all pixels."""

_STRIP = 1 << 22
"""Pixels that are converted at once."""


def decode_image(path: StrPath, *, max_pixels: int | None = MAX_PIXELS) -> Tensor:
    """Return an image file as (3, H, W) uint8 RGB, upright as its EXIF orientation says.

    PNG, JPEG, WebP, BMP, TIFF, GIF, PPM, TGA and AVIF; of several frames, the
    first. Grey, palette, CMYK and 1-bit images are converted to RGB; an alpha channel is dropped,
    not blended. 16-bit grey values are divided by 257 and rounded; of 16-bit colours Pillow gives
    the high byte.

    Args:
        path: A regular file.
        max_pixels: The limit of pixels, checked before they need memory. Pillow's own limit,
            `PIL.Image.MAX_IMAGE_PIXELS`, holds too. None decodes even a large image in a tiny
            file, which otherwise counts as a decompression bomb.

    Raises:
        FileNotFoundError: If the file does not exist.
        IsADirectoryError: If it is a folder.
        PermissionError: If access is denied.
        ValueError: If the file is empty, truncated, not an image, not a regular file, too large, or
            holds values beyond 16 bits.
    """
    with _opened(path, max_pixels) as image:
        if max_pixels is not None:
            _check_effort(image)
        ImageOps.exif_transpose(image, in_place=True)
        return torch.from_numpy(_upright_pixels(image)).permute(2, 0, 1)


def image_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return a Pillow image as (H, W, 3) uint8 RGB, as `decode_image` does with files.

    Raises:
        ValueError: If it is damaged, or holds values beyond 16 bits.
    """
    try:
        return _upright_pixels(ImageOps.exif_transpose(image))
    except _UNREADABLE as error:
        raise ValueError(f"cannot read the image {image}: {error}") from error


def decode_labels(path: StrPath, *, max_pixels: int | None = MAX_PIXELS) -> NDArray[Any]:
    """Return a label file as stored: (H, W) integers, or (H, W, 3) uint8 if it holds colours.

    A palette file gives its indices. Grey files of 1, 2, 4, 8 or 16 bits give their values
    unscaled.

    Args:
        path: A regular file.
        max_pixels: The limit of pixels, as in `decode_image`.

    Raises:
        FileNotFoundError: If the file does not exist.
        IsADirectoryError: If it is a folder.
        PermissionError: If access is denied.
        ValueError: If the file is unreadable, too large, compressed with loss, or neither grey, nor
            palette, nor RGB.
    """
    with _opened(path, max_pixels) as image:
        if image.format == "JPEG":
            raise ValueError("JPEG blurs label values; labels need PNG")
        if _raw_mode(image).endswith(";16B") and image.mode != "I;16":
            raise ValueError("colours of labels have 8 bits per channel, got 16")
        is_byte = image.mode in {"1", "L", "P"}
        if max_pixels is not None:
            _check_effort(image, _LABEL_RATIO if is_byte else _BOMB_RATIO)
        if image.mode in {"RGB", "RGBA"}:
            return _upright_pixels(image)
        if not is_byte and not image.mode.startswith("I"):
            raise ValueError(f"labels are grey, palette or RGB images, got mode {image.mode!r}")
        stretch = {"L;2": 85, "L;4": 17}.get(_raw_mode(image), 1)  # Pillow fills 8 bits
        values = np.asarray(image)  # not np.array, which copies once more
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values // stretch if stretch > 1 else values


def decode_frames(
    path: StrPath, *, max_pixels: int | None = MAX_PIXELS
) -> Iterator[tuple[Tensor, Fraction]]:
    """Yield every frame of an animation, (3, H, W) uint8 RGB, and when it appears, in seconds.

    Frames are upright as the EXIF orientation says. A frame without a duration lasts 0.1 seconds,
    as in browsers.

    Args:
        path: A file that `is_animation` accepts.
        max_pixels: The limit of pixels of a frame, as in `decode_image`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is unreadable or too large; frames before the damage are yielded.
    """
    time = Fraction(0)
    with _opened(path, max_pixels) as image:
        if max_pixels is not None:
            _check_effort(image)
        for index in itertools.count():
            try:
                image.seek(index)
            except EOFError:  # after the last frame; n_frames fails for damaged files
                return
            pixels = _upright_pixels(ImageOps.exif_transpose(image))
            yield torch.from_numpy(pixels).permute(2, 0, 1), time
            milliseconds = round(image.info.get("duration", 0)) or _USUAL_DURATION
            time += Fraction(milliseconds, 1000)


def is_animation(path: StrPath) -> bool:
    """Whether a file is a GIF, WebP, PNG or AVIF of several frames; False if it is unreadable."""
    if os.path.splitext(path)[1].lower() not in _ANIMATED_SUFFIXES:
        return False
    try:
        with _opened(path, None) as image:
            return bool(getattr(image, "is_animated", False))
    except (OSError, ValueError):
        return False


def image_size(path: StrPath) -> tuple[int, int]:
    """Return the height and width in the header of an image file, before any EXIF rotation.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an image.
    """
    with _opened(path, None) as image:
        return image.height, image.width


@contextmanager
def _opened(path: StrPath, max_pixels: int | None) -> Iterator[ImageFile.ImageFile]:
    """Open an image file; all its errors, also those of the block, become one kind of error."""
    size: int | None = None
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file but a pipe, socket or device")
        size = status.st_size
        with Image.open(path, formats=FORMATS) as image:
            pixels = image.width * image.height
            if max_pixels is not None and pixels > max_pixels:
                raise ValueError(
                    f"{image.width} x {image.height} are {pixels} pixels, above the limit of "
                    f"{max_pixels}"
                )
            yield image
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except _UNREADABLE as error:
        reason = "the file is empty" if size == 0 else str(error) or type(error).__name__
        raise ValueError(
            f"cannot read {os.fspath(path)!r}{'' if size is None else f' ({size} bytes)'} as an "
            f"image: {reason}"
        ) from error


def _check_effort(image: ImageFile.ImageFile, ratio: int = _BOMB_RATIO) -> None:
    """Check the memory and time that a file needs.

    Args:
        image: The opened file.
        ratio: The most pixels per byte of a large image.

    Raises:
        ValueError: If a small file needs much of either.
    """
    pixels, size = image.width * image.height, os.path.getsize(image.filename)
    if pixels > _BOMB_PIXELS and pixels > ratio * size:
        raise ValueError(
            f"{pixels} pixels in {size} bytes look like a decompression bomb; max_pixels=None "
            "decodes them anyway"
        )
    if image.format == "JPEG":
        with open(image.filename, "rb") as file:
            scans = file.read().count(b"\xff\xda")
        if scans > _MAX_SCANS:
            raise ValueError(f"the JPEG has {scans} scans, above the limit of {_MAX_SCANS}")


def _upright_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return (H, W, 3) pixels of an image without EXIF orientation."""
    image.info.pop("transparency", None)  # Pillow would warn, but alpha is dropped
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, strip in _strips(image):
        pixels[rows] = _rgb(strip)
    return pixels


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Return the packing of the pixels of a PNG file; "" for other formats."""
    return str(image.tile[0][3]) if image.format == "PNG" and image.tile else ""


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield strips of whole rows, so that conversions need little memory."""
    height = max(1, _STRIP // image.width)
    if height >= image.height:
        yield slice(None), image
        return
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return (H, W, 3) pixels, or (H, W, 1) of a grey image of more than 8 bits."""
    if not image.mode.startswith(("I", "F")):
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"expected 8 or 16 bits per channel, got mode {image.mode!r} with values from "
            f"{values.min()} to {values.max()}"
        )
    return ((values.astype(np.int32) + 128) // 257).astype(np.uint8)[:, :, None]
