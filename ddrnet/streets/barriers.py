"""Walls, fences and hedges along the street."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Literal, NamedTuple

import numpy as np

from ddrnet.data.streets.camera import Points
from ddrnet.data.streets.canvas import Canvas, Plane
from ddrnet.data.streets.paints import BARRIERS, FENCES, Rgb, scaled
from ddrnet.data.streets.plants import leaf_paints
from ddrnet.data.streets.textures import SIDE, Material, level_for, tiled
from ddrnet.data.streets.things import Course, Footprint, Thing, box_corners, box_shape


class Barrier(NamedTuple):
    """An upright slab along the street.

    Attributes:
        label: Class of its pixels.
        material: Its texture.
        period: Metres after which the texture repeats.
        height: In metres.
        paints: Of the darkest and of the brightest texel.
        opacity: Opacity of each grey of the texture, None if solid.
    """

    label: Literal["wall", "fence", "vegetation"]
    material: Material
    period: float
    height: float
    paints: tuple[Rgb, ...]
    opacity: list[int] | None = None


HOLES = [120 if grey < 60 else 255 for grey in range(256)]
"""Opacity of bars: the holes between them darken what is behind."""


def wall(rng: Random, course: Course, footprint: Footprint) -> Thing:
    """Return a wall of brick or stone."""
    bright = rng.choice(BARRIERS)
    material: Material = rng.choice(("brick", "cobbles"))
    period, height = rng.uniform(2.5, 4.0), rng.uniform(1.2, 3.0)
    paints = (scaled(bright, 0.12), bright)
    return _barrier(course, footprint, Barrier("wall", material, period, height, paints))


def fence(rng: Random, course: Course, footprint: Footprint) -> Thing:
    """Return a fence of pickets or bars."""
    paint, height = rng.choice(FENCES), rng.uniform(1.1, 2.2)
    material: Material = rng.choice(("pickets", "rails", "rails"))
    paints = (scaled(paint, 0.1), scaled(paint, 1.2))
    # Bars and pickets fill half of a texture's height.
    barrier = Barrier("fence", material, 2 * height, height, paints, HOLES)
    return _barrier(course, footprint, barrier)


def hedge(rng: Random, course: Course, footprint: Footprint) -> Thing:
    """Return a trimmed hedge."""
    height = rng.uniform(0.7, 2.4)
    barrier = Barrier("vegetation", "hedge", 4.0, height, leaf_paints(rng))
    return _barrier(course, footprint, barrier)


def _barrier(course: Course, footprint: Footprint, barrier: Barrier) -> Thing:
    corners = course.world(box_corners(footprint, barrier.height))
    return Thing(
        footprint,
        partial(_paint, barrier, corners),
        barrier.height,
        shape=box_shape(corners),
        solid=barrier.opacity is None,
    )


def _paint(barrier: Barrier, corners: Points, canvas: Canvas) -> None:
    """Paint the faces of a box that look at the camera; of a fence, one side is enough."""
    near_left, near_right, far_right, far_left = corners[:4]
    up, camera = np.array([0.0, barrier.height, 0.0]), canvas.camera.position
    if near_left[0] > camera[0]:
        _paint_face(barrier, canvas, far_left, near_left, up)
    if near_right[0] < camera[0]:
        _paint_face(barrier, canvas, near_right, far_right, up)
    if barrier.opacity is None:
        _paint_face(barrier, canvas, near_left, near_right, up)
        if barrier.height < camera[1]:
            _paint_face(barrier, canvas, near_left + up, near_right + up, far_left - near_left)


def _paint_face(barrier: Barrier, canvas: Canvas, left: Points, right: Points, up: Points) -> None:
    across = right - left
    length, tall = float(np.linalg.norm(across)), float(np.linalg.norm(up))
    distance = max(min(canvas.camera.distance(left), canvas.camera.distance(right)), 3.0)
    level = level_for(distance / canvas.camera.focal, barrier.period / SIDE)
    step = barrier.period / SIDE * 2**level
    plane = Plane(left + up, across * (step / length), up * (-step / tall))
    facing = canvas.light.facing(*(np.cross(up, across) / (tall * length)).tolist())
    # Light falls through a fence onto its other side.
    tone = canvas.light.tone(distance, facing if barrier.opacity is None else abs(facing))
    repeats = int(length / barrier.period) + 1, int(tall / barrier.period) + 1
    texture = tiled(barrier.material, *repeats, level)
    corners = np.array([left, right, right + up, left + up])
    palette = tone.palette(*barrier.paints)
    canvas.textured(barrier.label, corners, texture, plane, palette, barrier.opacity)
