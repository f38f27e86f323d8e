"""The canvas: paints colours and labels of a picture from the same polygons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ddrnet.labels import CITYSCAPES
from ddrnet.streets.camera import Camera, Points, Polygon
from ddrnet.streets.light import Light
from ddrnet.streets.materials import Paint, Rgb

Corners: TypeAlias = NDArray[np.int64]
"""(n, 2) columns and rows of pixels."""


def outline(box: tuple[int, int, int, int], mask: Image.Image) -> Polygon:
    """Return the polygon around the pixels of a mask and the gaps within its columns.

    Args:
        box: Position of the mask in the picture: left, top, right, bottom.
        mask: Nonzero inside.
    """
    inside = np.asarray(mask) > 0
    columns = np.flatnonzero(inside.any(axis=0))
    first = inside.argmax(axis=0)[columns]
    last = len(inside) - 1 - inside[::-1].argmax(axis=0)[columns]
    above = _stairs(columns, first, np.maximum(first[:-1], first[1:]))
    below = _stairs(columns, last, np.minimum(last[:-1], last[1:]))
    corners = _without_straight(np.concatenate([above, below[::-1]])) + box[:2]
    polygon: Polygon = corners.ravel().tolist()
    return polygon


def shifted(polygon: Polygon, right: int, down: int) -> Polygon:
    """Return a polygon shifted by whole pixels."""
    moved = polygon.copy()
    moved[::2] = [value + right for value in polygon[::2]]
    moved[1::2] = [value + down for value in polygon[1::2]]
    return moved


def _stairs(columns: Corners, rows: Corners, landings: Corners) -> Corners:
    """Return the corners of a walk over (column, row) points that changes columns at `landings`."""
    walk = np.empty((3 * len(columns) - 2, 2), dtype=np.int64)
    walk[::3, 0], walk[::3, 1] = columns, rows
    walk[1::3, 0], walk[1::3, 1] = columns[:-1], landings
    walk[2::3, 0], walk[2::3, 1] = columns[1:], landings
    return walk


def _without_straight(corners: Corners) -> Corners:
    """Remove the corners without a turn from an axis-parallel walk."""
    steps = corners - np.concatenate([corners[-1:], corners[:-1]])
    moving = steps.any(axis=1)
    if not moving.any():
        return corners[[0, 0]]
    corners, steps = corners[moving], np.sign(steps[moving])
    turning = (steps != np.concatenate([steps[1:], steps[:1]])).any(axis=1)
    turns: Corners = corners[turning]
    return turns


Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

LABELS = {row.name: row for row in CITYSCAPES.rows}

INSTANCE_FACTOR = 1000
"""Instance maps hold `id * 1000 + number` for things, and plain ids elsewhere."""


TINY = 120
"""Smallest box around a polygon, in pixels, that shows a texture."""

MIDDLE = 3 * 140
"""Position of the mean grey's colour in a palette."""


class Shape(NamedTuple):
    """Flat polygons in the world.

    Attributes:
        corners: (n, 3) points of all polygons.
        counts: Corners of each polygon.
    """

    corners: Points
    counts: Sequence[int]


class Mesh(NamedTuple):
    """Flat polygons, painted in order over each other.

    Attributes:
        corners: (n, 3) world points of all polygons.
        counts: Corners of each polygon.
        paints: Seen colour of each polygon.
    """

    corners: Points
    counts: Sequence[int]
    paints: Sequence[Paint]


class Plane(NamedTuple):
    """The position of a texture: its corner in the world, and the steps between texels."""

    origin: Points
    across: Points
    down: Points


class Region(NamedTuple):
    """A painted polygon and the name of its class."""

    label: str
    polygon: Polygon


class Canvas:
    """Colours, instance values and regions of one picture.

    Every call paints over the earlier ones. The label of a thing with instances also fills the gaps
    within its pixel columns, such as between spokes or under an arm, as human annotations do. So
    one polygon describes the thing, and drawing the regions in order reproduces the maps.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        size = (camera.width, camera.height)
        self.image = Image.new("RGB", size)
        self.instances = Image.new("I", size)
        self.regions: list[Region] = []
        self._counts: Counter[str] = Counter()
        self._shadows: Image.Image | None = None
        self._colors = ImageDraw.Draw(self.image, "RGBA")
        self._values = ImageDraw.Draw(self.instances)

    def background(self, label: str, picture: Image.Image) -> None:
        """Replace the picture by one of the same size."""
        self.image.paste(picture)
        right, bottom = self.camera.width - 1, self.camera.height - 1
        self._label(label, [0, 0, right, 0, right, bottom, 0, bottom])

    def paint(self, label: str, mesh: Mesh) -> None:
        """Paint one thing."""
        polygons = self.decals(mesh)
        if polygons and LABELS[label].has_instances:
            polygons = [outline(*_mask(polygons))]
        for polygon in polygons:
            self._label(label, polygon)

    def decals(self, mesh: Mesh) -> list[Polygon]:
        """Paint without a change of labels; return the visible polygons."""
        polygons = self.camera.polygons(mesh.corners, mesh.counts)
        for polygon, paint in zip(polygons, mesh.paints, strict=True):
            if polygon is not None:
                self._colors.polygon(polygon, fill=paint)
        return [polygon for polygon in polygons if polygon is not None]

    def textured(
        self,
        label: str,
        corners: Points,
        texture: Image.Image,
        plane: Plane,
        palette: bytes | None = None,
        opacity: list[int] | None = None,
    ) -> None:
        """Paint one polygon with a texture in its plane.

        Args:
            label: A class without instances.
            corners: (n, 3) corners of the polygon.
            texture: RGB in seen colours, or grey with a palette.
            plane: The position of the texture.
            palette: Red, green and blue of each grey.
            opacity: Opacity of each grey; solid if None.
        """
        polygon = self.camera.polygon(corners)
        if polygon is None:
            return
        box, mask = _mask([polygon])
        if mask.width * mask.height < TINY and palette is not None:
            r, g, b = palette[MIDDLE : MIDDLE + 3]
            self._colors.polygon(polygon, fill=(r, g, b))
            self._label(label, polygon)
            return
        warped = self._warp(texture, plane, box)
        if opacity is not None:
            mask = ImageChops.multiply(mask, warped.point(opacity))
        if palette is not None:
            warped.putpalette(palette)
            warped = warped.convert("RGB")
        self.image.paste(warped, box, mask)
        self._label(label, polygon)

    def shade(self, shadows: Shape, strength: float) -> None:
        """Darken polygons by a share of the light; `sunlit` is false in them."""
        self._shadows = self._darken(shadows, strength, 0.0012)

    def dim(self, spots: Shape, strength: float) -> None:
        """Darken polygons by a share of the light, with soft borders."""
        self._darken(spots, strength, 0.004)

    def sunlit(self, point: Points) -> bool:
        """Return whether a point of the ground lies in the sun."""
        pixel = self.camera.polygon(point[None])
        if self._shadows is None or pixel is None:
            return True
        return not self._shadows.getpixel((pixel[0], pixel[1]))

    def veil(self, color: Rgb, opacity: Image.Image) -> None:
        """Blend one colour over the whole picture."""
        self.image.paste(color, (0, 0), opacity)

    def _darken(self, shape: Shape, strength: float, softness: float) -> Image.Image:
        mask = Image.new("L", self.image.size)
        drawer = ImageDraw.Draw(mask)
        for polygon in self.camera.polygons(shape.corners, shape.counts):
            if polygon is not None:
                drawer.polygon(polygon, fill=255)
        box = mask.getbbox()
        if box is not None:
            soft = mask.crop(box).filter(ImageFilter.BoxBlur(softness * self.camera.focal))
            kept = 1 - strength
            matrix = (kept, 0, 0, 0, 0, kept, 0, 0, 0, 0, kept, 0)
            self.image.paste(self.image.crop(box).convert("RGB", matrix), box, soft)
        return mask

    def _label(self, label: str, polygon: Polygon) -> None:
        row = LABELS[label]
        value = row.id
        if row.has_instances:
            value = row.id * INSTANCE_FACTOR + self._counts[label]
            self._counts[label] += 1
        self._values.polygon(polygon, fill=value)
        self.regions.append(Region(label, polygon))

    def _warp(self, texture: Image.Image, plane: Plane, box: Box) -> Image.Image:
        left, top, right, bottom = box
        # Pillow counts from the corner of the first pixel, the camera from its centre.
        rows = [
            (x, y, x * (left - 0.5) + y * (top - 0.5) + z)
            for x, y, z in self.camera.texture_map(*plane)
        ]
        scale = rows[2][2] or 1e-12
        return texture.transform(
            (right - left, bottom - top),
            Image.Transform.PERSPECTIVE,
            [value / scale for row in rows for value in row][:8],
            Image.Resampling.BILINEAR,
            fillcolor=texture.getpixel((texture.width // 2, texture.height // 2)),
        )


def _mask(polygons: Sequence[Polygon]) -> tuple[Box, Image.Image]:
    """Return the box around polygons and its mask, 255 inside of them."""
    left = min(min(polygon[::2]) for polygon in polygons)
    top = min(min(polygon[1::2]) for polygon in polygons)
    right = max(max(polygon[::2]) for polygon in polygons) + 1
    bottom = max(max(polygon[1::2]) for polygon in polygons) + 1
    mask = Image.new("L", (right - left, bottom - top))
    drawer = ImageDraw.Draw(mask)
    for polygon in polygons:
        drawer.polygon(shifted(polygon, -left, -top), fill=255)
    return (left, top, right, bottom), mask
