"""Buildings: textured walls, a flat or pitched roof."""

from __future__ import annotations

from functools import partial
from math import log2
from random import Random
from typing import NamedTuple, TypeAlias

import numpy as np

from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Canvas, Mesh, Plane
from ddrnet.streets.facades import Facade, facade_texture
from ddrnet.streets.materials import ROOFS, SIDE, Rgb, scaled, tiled
from ddrnet.streets.things import Course, Footprint, Thing, box_corners, box_shape

Corner: TypeAlias = tuple[float, float]
"""Metres right of the middle of the street, and metres ahead."""

TILES = 8.0
"""Metres after which the texture of a roof repeats."""


class Building(NamedTuple):
    """One building.

    Attributes:
        course: The course of its street.
        footprint: Its ground in street coordinates.
        floors: Storeys, the ground floor included.
        storey: Height of a storey in metres.
        bay: Width of a bay with one window, in metres.
        facade: The look of its walls.
        roof: Paint of the roof.
        pitch: Height of the ridge above the eaves in metres, 0 for a flat roof.
        seed: Chooses the windows.
    """

    course: Course
    footprint: Footprint
    floors: int
    storey: float
    bay: float
    facade: Facade
    roof: Rgb
    pitch: float
    seed: int

    @property
    def height(self) -> float:
        """Metres from the ground to the eaves."""
        return self.floors * self.storey


def building(
    rng: Random, course: Course, footprint: Footprint, floors: int, *, lamps: bool
) -> tuple[Thing, Thing]:
    """Return a random building, and separately its near wall, which a neighbour may hide."""
    office = rng.random() < (0.35 if floors > 4 else 0.12)
    drawn = Building(
        course,
        footprint,
        floors,
        storey=rng.uniform(2.7, 3.6),
        bay=rng.uniform(1.8, 3.6),
        facade=Facade.draw(rng, office=office, lamps=lamps),
        roof=rng.choice(ROOFS),
        pitch=rng.uniform(1.5, 4.5) if floors < 7 and rng.random() < 0.55 else 0.0,
        seed=rng.getrandbits(32),
    )
    height = drawn.height + drawn.pitch
    shape = box_shape(course.world(box_corners(footprint, drawn.height + 0.5 * drawn.pitch)))
    street = Thing(footprint, partial(_paint_street, drawn), height, shape=shape, solid=True)
    near = footprint._replace(far=footprint.near + 0.1)
    return street, Thing(near, partial(_paint_flank, drawn), height)


def _paint_street(building: Building, canvas: Canvas) -> None:
    """Paint the wall along the street and the slope of the roof above it."""
    left, right, near, far = building.footprint
    camera = canvas.camera.position[0]
    if left > camera:
        _paint_wall(building, canvas, (left, far), (left, near))
    if right < camera:
        _paint_wall(building, canvas, (right, near), (right, far))
    if building.pitch:
        _paint_roof(building, canvas)


def _paint_flank(building: Building, canvas: Canvas) -> None:
    """Paint the wall across the street and the gable above it."""
    left, right, near, _ = building.footprint
    if near <= 0:
        return
    _paint_wall(building, canvas, (left, near), (right, near))
    if building.pitch:
        eaves, ridge = building.height, building.height + building.pitch
        middle = (left + right) / 2
        gable = building.course.world(
            [(left, eaves, near), (right, eaves, near), (middle, ridge, near)]
        )
        distance = max(canvas.camera.distance(gable[0]), 4.0)
        tone = canvas.light.tone(distance, canvas.light.facing(0.0, 0.0, -1.0))
        paint = tone.color(scaled(building.facade.wall, 0.88))
        canvas.paint("building", Mesh(gable, (3,), (paint,)))


def _paint_wall(building: Building, canvas: Canvas, left: Corner, right: Corner) -> None:
    start, stop = building.course.foot(*left), building.course.foot(*right)
    corners = np.array([start, stop, stop, start])
    corners[2:, 1] = building.height
    if canvas.camera.polygon(corners) is None:
        return
    across = stop - start
    width = float(np.hypot(across[0], across[2]))
    columns = max(1, round(width / building.bay))
    distance = _distance(canvas, start, stop)
    texels = _texels(canvas.camera.focal * building.storey / distance)
    rng = Random(building.seed + columns)
    texture = facade_texture(building.facade, columns, building.floors, texels, rng)
    down = np.array([0.0, -building.storey / texels, 0.0])
    plane = Plane(corners[3], across / (columns * texels), down)
    facing = canvas.light.facing(across[2] / width, 0.0, -across[0] / width)
    matrix = canvas.light.tone(distance, facing).matrix()
    canvas.textured("building", corners, texture.convert("RGB", matrix), plane)


def _distance(canvas: Canvas, left: Points, right: Points) -> float:
    """Return the distance to the nearer part of a wall in metres, at least 4."""
    near, far = sorted((canvas.camera.distance(left), canvas.camera.distance(right)))
    return max(0.75 * near + 0.25 * far, 4.0)


def _texels(pixels: float) -> int:
    """Return the largest power of two within the height of a bay in pixels, from 4 to 64."""
    return 1 << min(max(int(log2(pixels)), 2), 6)


def _paint_roof(building: Building, canvas: Canvas) -> None:
    """Paint the slope towards the street if it is visible from below."""
    left, right, near, far = building.footprint
    height, ridge, middle = building.height, building.height + building.pitch, (left + right) / 2
    eaves = left if middle > canvas.camera.position[0] else right
    slope = building.course.world(
        [(middle, ridge, near), (middle, ridge, far), (eaves, height, far), (eaves, height, near)]
    )
    along, down = slope[1] - slope[0], slope[3] - slope[0]
    length, fall = float(np.linalg.norm(along)), float(np.linalg.norm(down))
    normal = np.cross(along, down) / (length * fall)
    normal *= np.sign(normal[1])
    if normal @ (canvas.camera.position - slope[0]) <= 0:
        return
    step = TILES / SIDE
    plane = Plane(slope[0], along * (step / length), down * (step / fall))
    tone = canvas.light.tone(
        max(canvas.camera.distance(slope[3]), 4.0), canvas.light.facing(*normal.tolist())
    )
    texture = tiled("tiles", int(length / TILES) + 1, int(fall / TILES) + 1)
    palette = tone.palette((0, 0, 0), building.roof)
    canvas.textured("building", slope, texture, plane, palette)
