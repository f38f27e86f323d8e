"""Draws label maps: palette images, colours, overlays and legends.

Labels are (H, W) arrays or CPU tensors of any integer type. They hold class indices, and
`IGNORE_INDEX` at ignored pixels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ddrnet.labels import IGNORE_INDEX, MAX_CLASSES, ClassLabel, Color

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_SMALLEST_TEXT = 13  # pixels; smaller text is hard to read
_LONGEST_NAME = 32  # characters; longer names are cut off

_PANEL: Color = (22, 24, 29)
_OUTLINE: Color = (92, 98, 110)
_NAME: Color = (236, 239, 244)
_SHARE: Color = (160, 168, 182)


def palette_image(labels: ArrayLike, classes: Sequence[ClassLabel]) -> Image.Image:
    """Return labels as a palette image with the colours of the classes.

    Ignored pixels are black. A PNG of the image holds labels and colours: viewers show the colours,
    and `numpy.array(image)` is the label map.

    Args:
        labels: (H, W) class indices.
        classes: The class of each index, at most 256.

    Raises:
        ValueError: If labels are not a map of integers, or a value is no class.
    """
    from PIL import Image

    image = Image.fromarray(_checked_labels(labels, classes))
    palette = np.zeros((MAX_CLASSES, 3), np.uint8)
    palette[: len(classes)] = [label.color for label in classes]
    image.putpalette(palette.tobytes())
    return image


def colorize(labels: ArrayLike, classes: Sequence[ClassLabel]) -> NDArray[np.uint8]:
    """Return the class colours of labels as (H, W, 3) uint8; ignored pixels are black.

    Raises:
        ValueError: If labels are not a map of integers, or a value is no class.
    """
    return np.array(palette_image(labels, classes).convert("RGB"))


def overlay(
    image: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[ClassLabel],
    *,
    opacity: float = 0.55,
    only: Collection[int] | None = None,
) -> Image.Image:
    """Blend the class colours over an image; ignored pixels keep the image.

    Args:
        image: uint8 RGB of the size of the labels, (H, W, 3) or (3, H, W).
        labels: (H, W) class indices.
        classes: The class of each index.
        opacity: From 0, the image alone, to 1, the colours alone.
        only: Indices of the classes to show; by default all.

    Raises:
        ValueError: If a shape or a type does not fit, or a value is out of range.
    """
    from PIL import Image

    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity}")
    colors = palette_image(labels, classes)
    pixels = _channels_last(image, colors.height, colors.width)
    strength = np.zeros(MAX_CLASSES, np.uint8)
    strength[list(range(len(classes)) if only is None else only)] = round(255 * opacity)
    mask = Image.fromarray(strength[np.asarray(colors)])
    return Image.composite(colors.convert("RGB"), Image.fromarray(pixels), mask)


def with_legend(
    picture: Image.Image,
    labels: ArrayLike,
    classes: Sequence[ClassLabel],
    *,
    only: Collection[int] | None = None,
    note: str = "",
) -> Image.Image:
    """Add a panel below a picture with the present classes and their shares, largest first.

    The size of the text grows with the picture and stays readable. A panel wider than the picture
    widens the result, with the picture in the middle. Pillow's own font draws the names; it has
    Latin letters only.

    Args:
        picture: An RGB picture, e.g. from `overlay`.
        labels: (H, W) class indices, of any size.
        classes: The class of each index.
        only: Indices of the classes to name; by default all.
        note: A line of text below the classes.

    Raises:
        ValueError: If labels are not a map of integers, or a value is no class.
    """
    shares = class_shares(labels, classes)
    named = [n for n in np.argsort(-shares, kind="stable") if only is None or n in only]
    entries = [_entry(classes[n], percent(shares[n])) for n in named if shares[n] > 0]
    text_size = max(_SMALLEST_TEXT, round(math.sqrt(picture.width * picture.height) / 60))
    panel = _panel(entries, picture.width, text_size)
    return _stacked([picture, panel, *([_line(note, text_size)] if note else [])])


def legend(classes: Sequence[ClassLabel], *, note: str = "") -> Image.Image:
    """Return a picture of the names and colours of classes.

    Args:
        classes: The classes, in their order.
        note: A line of text below the classes.
    """
    entries = [_entry(label, "") for label in classes]
    return _stacked([_panel(entries, 0, _SMALLEST_TEXT), *([_line(note)] if note else [])])


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Join RGB pictures in a row from left to right, with aligned tops and gaps between them.

    Raises:
        ValueError: If there is no picture.
    """
    from PIL import Image

    if not pictures:
        raise ValueError("expected at least one picture, got none")
    gap = max(2, pictures[0].width // 128)
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, max(picture.height for picture in pictures)), _PANEL)
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + gap
    return canvas


def class_shares(labels: ArrayLike, classes: Sequence[ClassLabel]) -> NDArray[np.float64]:
    """Return the share of each class in all pixels, (K,) fractions.

    Ignored pixels belong to no class and lower the sum below 1.

    Raises:
        ValueError: If labels are not a map of integers, or a value is no class.
    """
    checked = _checked_labels(labels, classes)
    counts = np.bincount(checked.ravel(), minlength=MAX_CLASSES)
    return counts[: len(classes)] / checked.size


def percent(share: float) -> str:
    """Return a fraction as a percentage with one decimal; only 0 reads as 0.0%."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


class _Entry(NamedTuple):
    name: str
    color: Color
    share: str


class _Grid(NamedTuple):
    """The layout of the entries of a legend, column by column; lengths in pixels."""

    columns: int
    rows: int
    entry_width: int
    row_height: int
    margin: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height; columns are two margins apart."""
        width = self.columns * (self.entry_width + 2 * self.margin)
        return width, self.rows * self.row_height + 2 * self.margin

    def position(self, index: int) -> tuple[int, int]:
        """Return the left end and the vertical middle of an entry."""
        column, row = divmod(index, self.rows)
        left = self.margin + column * (self.entry_width + 2 * self.margin)
        return left, self.margin + row * self.row_height + self.row_height // 2


def _entry(label: ClassLabel, share: str) -> _Entry:
    name = label.name
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    return _Entry(name, label.color, share)


def _panel(entries: Sequence[_Entry], picture_width: int, text_size: int) -> Image.Image:
    """Draw a legend at least as wide as its picture; its height is 0 without entries."""
    from PIL import Image, ImageDraw, ImageFont

    if not entries:
        return Image.new("RGB", (picture_width, 0))
    font = ImageFont.load_default(text_size)
    grid = _grid(entries, picture_width, font, text_size)
    width, height = grid.size
    panel = Image.new("RGB", (max(picture_width, width), height), _PANEL)
    draw = ImageDraw.Draw(panel)
    for index, entry in enumerate(entries):
        left, middle = grid.position(index)
        _draw_entry(draw, entry, font, text_size, left, middle, grid.entry_width)
    return panel


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Join RGB pictures from top to bottom, centred."""
    from PIL import Image

    width = max(part.width for part in parts)
    canvas = Image.new("RGB", (width, sum(part.height for part in parts)), _PANEL)
    top = 0
    for part in parts:
        canvas.paste(part, ((width - part.width) // 2, top))
        top += part.height
    return canvas


def _line(text: str, text_size: int = _SMALLEST_TEXT) -> Image.Image:
    """Draw a line of text with the margins of a legend."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(text_size)
    size = math.ceil(font.getlength(text)) + 2 * text_size, 2 * text_size
    line = Image.new("RGB", size, _PANEL)
    ImageDraw.Draw(line).text((text_size, text_size // 2), text, _SHARE, font, anchor="lm")
    return line


def _grid(
    entries: Sequence[_Entry],
    picture_width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text_size: int,
) -> _Grid:
    """Choose as many columns as fit below the picture, or more to avoid a tall legend."""
    names = max(font.getlength(entry.name) for entry in entries)
    entry_width = math.ceil(names + font.getlength("100.0%") + 3 * text_size)
    row_height = math.ceil(1.6 * text_size)
    fitting = picture_width // (entry_width + 2 * text_size)
    square = math.ceil(math.sqrt(len(entries) * row_height / entry_width))
    rows = math.ceil(len(entries) / max(fitting, square))
    return _Grid(math.ceil(len(entries) / rows), rows, entry_width, row_height, text_size)


def _draw_entry(
    draw: ImageDraw.ImageDraw,
    entry: _Entry,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text_size: int,
    left: int,
    middle: int,
    width: int,
) -> None:
    """Draw a swatch, the name beside it, and the share at the right end."""
    swatch = (left, middle - text_size // 2, left + 1.4 * text_size, middle + text_size // 2)
    line = max(1, text_size // 20)
    draw.rounded_rectangle(swatch, text_size // 5, entry.color, _OUTLINE, line)
    draw.text((left + 2 * text_size, middle), entry.name, _NAME, font, anchor="lm")
    draw.text((left + width, middle), entry.share, _SHARE, font, anchor="rm")


def _checked_labels(labels: ArrayLike, classes: Sequence[ClassLabel]) -> NDArray[np.uint8]:
    if not 0 < len(classes) <= MAX_CLASSES:
        raise ValueError(f"expected 1 to {MAX_CLASSES} classes, got {len(classes)}")
    values = np.asarray(labels)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be an (H, W) map of integers, got shape {values.shape} of {values.dtype}"
        )
    known = ((values >= 0) & (values < len(classes))) | (values == IGNORE_INDEX)
    if not known.all():
        raise ValueError(
            f"labels must lie from 0 to {len(classes) - 1}, or be {IGNORE_INDEX} if ignored, got "
            f"{', '.join(map(str, np.unique(values[~known])[:8]))}"
        )
    return values.astype(np.uint8)


def _channels_last(image: ArrayLike, height: int, width: int) -> NDArray[Any]:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.shape not in {(height, width, 3), (3, height, width)}:
        raise ValueError(
            f"the image of {height} x {width} labels must be uint8 of shape ({height}, {width}, 3) "
            f"or (3, {height}, {width}), got {pixels.dtype} of shape {pixels.shape}"
        )
    if pixels.shape != (height, width, 3):
        pixels = pixels.transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)
