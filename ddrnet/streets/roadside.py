"""Both sides of a street: plots with buildings and gardens, barriers, trees, lamps, signs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Literal, NamedTuple

import numpy as np

from ddrnet.streets.buildings import building
from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Canvas, Plane
from ddrnet.streets.furniture import (
    bollard,
    clutter,
    gantry,
    lamp,
    sign,
    traffic_light,
    utility_pole,
)
from ddrnet.streets.materials import BARRIERS, FENCES, SIDE, Material, Rgb, level_for, scaled, tiled
from ddrnet.streets.plan import PLOTS, SIDES, Plot, Site
from ddrnet.streets.plants import bush, leaf_paints, tree
from ddrnet.streets.things import Course, Footprint, Thing, box_corners, box_shape


class Barrier(NamedTuple):
    """An upright slab along the street.

    Attributes:
        label: Class of its pixels.
        material: Its texture.
        period: Period of the texture in metres.
        height: Its height in metres.
        paints: Paints of the darkest and of the brightest texel.
        opacity: Opacity of each grey of the texture; None if solid.
    """

    label: Literal["wall", "fence", "vegetation"]
    material: Material
    period: float
    height: float
    paints: tuple[Rgb, ...]
    opacity: list[int] | None = None


HOLES = [120 if grey < 60 else 255 for grey in range(256)]
"""Opacity of bars; the gaps slightly darken the background."""


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
    # Bars and pickets fill half of the height of a texture.
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
    """Paint the visible faces of a box; a fence needs one side only."""
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
    # Light shines through a fence onto its other side.
    tone = canvas.light.tone(distance, facing if barrier.opacity is None else abs(facing))
    repeats = int(length / barrier.period) + 1, int(tall / barrier.period) + 1
    texture = tiled(barrier.material, *repeats, level)
    corners = np.array([left, right, right + up, left + up])
    palette = tone.palette(*barrier.paints)
    canvas.textured(barrier.label, corners, texture, plane, palette, barrier.opacity)


Upright = Callable[[Random, Course, float, float], Thing]
BarrierMaker = Callable[[Random, Course, Footprint], Thing]

BARRIER_MAKERS: dict[Plot, tuple[BarrierMaker | None, ...]] = {
    "terrace": (None,),
    "house": (fence, hedge, wall, fence, None),
    "park": (None, None, fence, hedge, wall),
    "walled": (wall,),
    "fenced": (fence,),
    "yard": (None, fence),
}
"""Barriers between a plot and the sidewalk."""


def line_street(site: Site) -> None:
    """Fill both sides with plots, close the far end, then furnish the sidewalks."""
    for side in SIDES:
        _fill_side(site, side)
    _close_end(site)
    for side in SIDES:
        _close_side(site, side)
    if site.crossing is not None:
        _furnish_crossing(site, *site.crossing)
    if site.happens(0.2):
        half = max(site.section.kerb(side) for side in SIDES) + 0.6
        site.place(gantry(site.rng, site.course, half, site.rng.uniform(18, 36)))
    for side in SIDES:
        _furnish_side(site, side)


def _fill_side(site: Site, side: int) -> None:
    at = site.rng.uniform(-12, -4)
    while at < site.end:
        stop = resume = at + site.rng.uniform(8, 22)
        if site.crossing is not None and site.on_crossing(at, stop, 3.5):
            stop, resume = site.crossing[0] - 3.5, site.crossing[1] + 3.5
        if stop - at > 6:
            [plot] = site.rng.choices(PLOTS, site.district.plots)
            _fill_plot(site, side, plot, at, stop)
        at = resume


def _fill_plot(site: Site, side: int, plot: Plot, near: float, far: float) -> None:
    rng, border = site.rng, site.section.border(side)
    barrier = rng.choice(BARRIER_MAKERS[plot])
    if barrier is not None:
        _divide(site, barrier, side, near, far)
    if plot == "terrace":
        _build(site, side, border + rng.choice((0.0, 0.0, 0.0, 1.5)), near, far)
    elif plot == "house":
        gap = rng.uniform(1, 3)
        _build(site, side, border + rng.uniform(3, 8), near + gap, far - gap)
        _plant(site, Footprint.beside(side, border + 0.8, border + 2.5, near, far), 2)
    elif plot == "park":
        _plant(site, Footprint.beside(side, border + 1, border + 18, near, far), 7)
    else:
        if site.happens(0.6):
            _build(site, side, border + rng.uniform(6, 14), near, far)
        _plant(site, Footprint.beside(side, border + 0.8, border + 6, near, far), 3)


def _build(site: Site, side: int, front: float, near: float, far: float) -> None:
    depth, floors = site.rng.uniform(8, 14), site.rng.randint(*site.district.floors)
    footprint = Footprint.beside(side, front, front + depth, near, far)
    site.place(*building(site.rng, site.course, footprint, floors, lamps=site.lamps))


def _divide(site: Site, barrier: BarrierMaker, side: int, near: float, far: float) -> None:
    """Place a barrier along the border, in equal pieces short enough to follow a bend."""
    seed, border = site.rng.getrandbits(32), site.section.border(side)
    pieces = max(1, round((far - near) / 8))
    step = (far - near) / pieces
    for start in (near + index * step for index in range(pieces)):
        if start + step > 1.0:
            stop = start + step
            footprint = Footprint.beside(side, border, border + 0.25, max(start, 0.6), stop)
            site.place(barrier(Random(seed), site.course, footprint))


def _plant(site: Site, bed: Footprint, most: int) -> None:
    for _ in range(site.rng.randint(0, most)):
        right, forward = site.rng.uniform(*bed[:2]), site.rng.uniform(*bed[2:])
        if forward > 4:
            grow = tree if site.happens(0.55) else bush
            site.place(grow(site.rng, site.course, right, forward))


def _close_end(site: Site) -> None:
    """End the street at buildings or trees."""
    reach = max(site.section.border(side) for side in SIDES) + 4
    built, left = site.happens(0.6), -reach
    while left < reach:
        if built:
            footprint = Footprint(left, left + 13.9, site.end + 8, site.end + 20)
            floors = site.rng.randint(2, 6)
            site.place(*building(site.rng, site.course, footprint, floors, lamps=site.lamps))
        else:
            site.place(tree(site.rng, site.course, left, site.end + site.rng.uniform(4, 20)))
        left += 14.0 if built else 4.0


def _close_side(site: Site, side: int) -> None:
    """Place trees and buildings behind the plots, so that no view ends at bare ground."""
    inner = site.section.border(side) + 26
    for forward in site.spaced((8, 22), 0, site.end):
        if site.happens(0.5):
            footprint = Footprint.beside(side, inner + 8, inner + 20, forward - 6, forward + 6)
            floors = site.rng.randint(*site.district.floors)
            site.place(*building(site.rng, site.course, footprint, floors, lamps=site.lamps))
        else:
            right = side * (inner + site.rng.uniform(0, 20))
            site.place(tree(site.rng, site.course, right, forward))


def _furnish_side(site: Site, side: int) -> None:
    section, rng = site.section, site.rng
    kerb, walk, verge = section.kerb(side), section.walk(side), section.side(side).verge
    if site.happens(site.district.trees):
        _row(site, tree, side * (kerb + (verge / 2 if verge > 0.5 else 0.5)), (7, 16), 5, 90)
    pole = lamp if site.happens(0.75) else utility_pole
    _row(site, pole, side * (kerb + 0.4), (16, 34), 3, 120)
    if site.happens(0.3):
        start = rng.uniform(4, 30)
        _row(site, bollard, side * (kerb + 0.35), (1.4, 2.2), start, start + rng.uniform(5, 20))
    _row(site, sign, side * (kerb + 0.45), (6, 16), 6, 40)
    strewn = rng.uniform(walk + 0.3, max(section.border(side) - 0.2, walk + 0.4))
    _row(site, clutter, side * strewn, (12, 60), 4, 70)


def _row(
    site: Site, upright: Upright, right: float, gap: tuple[float, float], start: float, stop: float
) -> None:
    for forward in site.spaced(gap, start, stop):
        if not site.on_crossing(forward, forward, 1.0):
            site.place(upright(site.rng, site.course, right, forward))


def _furnish_crossing(site: Site, near: float, far: float) -> None:
    upright = traffic_light if site.happens(0.85) else sign
    for side in SIDES:
        right = side * (site.section.kerb(side) + 0.5)
        for forward in (near - 0.8, far + 0.8):
            site.place(upright(site.rng, site.course, right, forward))
