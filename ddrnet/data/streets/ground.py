"""The ground: textured strips along the street, markings, shadows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ddrnet.data.streets.camera import NEAR, Points
from ddrnet.data.streets.canvas import Canvas, Mesh, Plane, Shape
from ddrnet.data.streets.paints import Rgb
from ddrnet.data.streets.textures import SIDE, Material, tiled
from ddrnet.data.streets.things import Course

PERIOD = 6.4
"""Metres after which a ground texture repeats."""

MEAN = 150
"""About the mean grey of the textures, for ground too far away to show one."""

FAR = 500.0
"""Metres to each side and ahead at which the ground ends."""


Ground = Literal["road", "sidewalk", "terrain", "parking"]


class Band(NamedTuple):
    """A stretch of ground that one resolution of the textures serves.

    Attributes:
        near: Metres ahead at which it starts.
        far: Metres ahead at which it ends.
        level: Halvings of the texture.
        reach: Metres to each side that can be seen.
    """

    near: float
    far: float
    level: int
    reach: float


BANDS = (Band(NEAR, 16, 0, 26), Band(16, 58, 2, 80))


class Surface(NamedTuple):
    """What a piece of ground is made of.

    Attributes:
        material: Its texture, none if it is too narrow to show one.
        paints: Of the darkest and of the brightest texel.
    """

    material: Material | None
    paints: tuple[Rgb, ...]


class Strip(NamedTuple):
    """A piece of ground between two lines along the street.

    Attributes:
        label: Class of its pixels.
        left: Metres right of the middle at which it starts.
        right: Where it ends.
        surface: What it is made of.
        near: Metres ahead at which it starts.
        far: Where it ends.
    """

    label: Ground
    left: float
    right: float
    surface: Surface
    near: float = NEAR
    far: float = FAR


class Marking(NamedTuple):
    """A flat patch on the ground that changes no label: paint, a repair, a rail.

    Attributes:
        shape: (n, 3) street coordinates.
        paint: Its colour in white light.
        opacity: 0-255; worn paint lets the road through.
    """

    shape: Sequence[tuple[float, float, float]]
    paint: Rgb
    opacity: int


def paint_strips(canvas: Canvas, course: Course, strips: Iterable[Strip]) -> None:
    """Paint strips over each other, textured near the camera and flat far away."""
    tone = canvas.light.tone(0.0, canvas.light.sun[1])
    for strip in strips:
        material, palette = strip.surface.material, tone.palette(*strip.surface.paints)
        for band in BANDS if material else ():
            shape = _edges(course, strip, band.near, band.far, band.reach)
            if shape is not None:
                plane, (columns, rows) = _lay(band)
                texture = tiled(material, columns, rows, band.level)
                canvas.textured(strip.label, shape, texture, plane, palette)
        shape = _edges(course, strip, BANDS[-1].far if material else NEAR, FAR, FAR)
        if shape is not None:
            r, g, b = palette[3 * MEAN : 3 * MEAN + 3]
            canvas.paint(strip.label, Mesh(shape, [len(shape)], [(r, g, b)]))


def paint_markings(canvas: Canvas, course: Course, markings: Iterable[Marking]) -> None:
    """Paint markings onto the ground."""
    tone = canvas.light.tone(0.0, canvas.light.sun[1])
    listed = list(markings)
    corners = course.world([corner for marking in listed for corner in marking.shape])
    paints = [(*tone.color(marking.paint), marking.opacity) for marking in listed]
    canvas.decals(Mesh(corners, [len(marking.shape) for marking in listed], paints))


def paint_shadows(canvas: Canvas, shapes: Sequence[Shape], feet: Points) -> None:
    """Darken the ground where the sun does not reach, and right under things.

    Args:
        canvas: With the ground painted.
        shapes: What throws shadows.
        feet: (n, 4, 3) corners of the spots that things stand on.
    """
    light = canvas.light
    if light.direct > 0.15 and shapes:
        corners = light.shadow(np.concatenate([shape.corners for shape in shapes]))
        counts = [count for shape in shapes for count in shape.counts]
        direct = light.direct_on(light.sun[1])
        canvas.shade(Shape(corners, counts), direct / (light.ambient + direct))
    canvas.dim(Shape(feet.reshape(-1, 3), [4] * len(feet)), 0.55)


def _lay(band: Band) -> tuple[Plane, tuple[int, int]]:
    """Return where a band's texture lies, and its repeats across and along."""
    step = PERIOD / SIDE * 2**band.level
    columns, rows = int(2 * band.reach / PERIOD) + 1, int((band.far - band.near) / PERIOD) + 1
    corner = np.array([-band.reach, 0.0, band.far])
    return Plane(corner, np.array([step, 0, 0]), np.array([0, 0, -step])), (columns, rows)


def _edges(course: Course, strip: Strip, near: float, far: float, reach: float) -> Points | None:
    """Return the outline of a strip between two distances, None if there is nothing of it."""
    near, far = max(near, strip.near), min(far, strip.far)
    left, right = max(strip.left, -reach), min(strip.right, reach)
    if near >= far or left >= right:
        return None
    steps = 1 if course.bend == 0 else 6
    forward = [near + (far - near) * step / steps for step in range(steps + 1)]
    there, back = [(left, 0, z) for z in forward], [(right, 0, z) for z in reversed(forward)]
    return course.world([*there, *back])
