"""Things on the street: the course of the street, footprints, and the order of painting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import atan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from ddrnet.streets.camera import Camera, Points
from ddrnet.streets.canvas import Canvas, Shape


class Course(NamedTuple):
    """The course of a street: straight at the camera, with a constant bend ahead.

    Street coordinates are metres to the right of the middle, above the ground, and forward.

    Attributes:
        bend: Change of direction per metre in radians, to the right.
    """

    bend: float

    def world(self, points: ArrayLike) -> Points:
        """Return (..., 3) street coordinates as world coordinates."""
        world: Points = np.array(points, dtype=np.float64)
        world[..., 0] += 0.5 * self.bend * world[..., 2] ** 2
        return world

    def foot(self, right: float, forward: float) -> Points:
        """Return the world point of one spot on the ground."""
        return np.array([right + 0.5 * self.bend * forward * forward, 0.0, forward])

    def heading(self, forward: float) -> float:
        """Return the direction of the street in radians, clockwise from straight ahead."""
        return atan(self.bend * forward)


class Footprint(NamedTuple):
    """The ground under a thing, in street coordinates."""

    left: float
    right: float
    near: float
    far: float

    @classmethod
    def around(cls, right: float, forward: float, radius: float) -> Footprint:
        """Return the square around one point."""
        return cls(right - radius, right + radius, forward - radius, forward + radius)

    @classmethod
    def beside(cls, sign: int, inner: float, outer: float, near: float, far: float) -> Footprint:
        """Return a stretch of one side between two distances from the middle."""
        left, right = sorted((sign * inner, sign * outer))
        return cls(left, right, near, far)


class Thing(NamedTuple):
    """One thing on the ground.

    Attributes:
        footprint: Its ground, which decides the order of painting.
        paint: Function that paints it onto a canvas.
        height: Metres from the ground to its top.
        spread: Overhang beyond its footprint in metres.
        shape: The shape of its shadow; None without a shadow.
        solid: Whether `shape` hides things behind it.
    """

    footprint: Footprint
    paint: Callable[[Canvas], None]
    height: float
    spread: float = 0.0
    shape: Shape | None = None
    solid: bool = False


def box_corners(footprints: ArrayLike, heights: ArrayLike) -> Points:
    """Return (..., 8, 3) street coordinates of boxes, the lower four corners first.

    Args:
        footprints: (..., 4) left, right, near, far.
        heights: (...) metres.
    """
    ground, height = np.asarray(footprints, dtype=np.float64), np.asarray(heights)
    corners = np.zeros((*height.shape, 8, 3))
    corners[..., 0] = ground[..., [0, 1, 1, 0] * 2]
    corners[..., 2] = ground[..., [2, 2, 3, 3] * 2]
    corners[..., 4:, 1] = height[..., None]
    return corners


def box_shape(corners: Points) -> Shape:
    """Return the top and the walls of a box with these eight corners."""
    return Shape(corners[_FACES].reshape(-1, 3), [4] * 5)


_FACES = [(4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]


def painting_order(footprints: Sequence[Footprint], camera: float) -> list[int]:
    """Return the indices of footprints, from the hindmost to the foremost.

    If a line across or along the street separates two footprints, the one beyond the line, seen
    from `camera` metres right of the middle, is painted first.
    """
    left, right, near, far = np.array(footprints).reshape(-1, 4).T
    beyond = near[:, None] >= far
    beyond |= (left[:, None] >= right) & (left[:, None] >= camera)
    beyond |= (right[:, None] <= left) & (right[:, None] <= camera)
    hides = beyond & ~beyond.T
    # Fewest unpainted predecessors first; the farthest wins ties and circular overlaps.
    urgency = hides.sum(axis=0) - far / 1e4
    order: list[int] = []
    for _ in footprints:
        chosen = int(urgency.argmin())
        order.append(chosen)
        urgency -= hides[chosen]
        urgency[chosen] = np.inf
    return order


COARSE = 128
"""Longer side, in pixels, of the map that finds hidden things."""


def unhidden(things: Sequence[Thing], boxes: Points, camera: Camera) -> list[Thing]:
    """Remove the things hidden by solid things in front of them.

    Args:
        things: From the hindmost to the foremost.
        boxes: (n, 8, 3) corners of boxes around them.
        camera: The camera.
    """
    coarse = camera.resized(COARSE)
    width, height = coarse.width, coarse.height
    covered = Image.new("L", (width, height))
    drawer = ImageDraw.Draw(covered)
    seen: list[Thing] = []
    for thing, frame in zip(reversed(things), coarse.frames(boxes)[::-1].tolist(), strict=True):
        left, top, right, bottom = frame
        around = max(left - 1, 0), max(top - 1, 0), min(right + 2, width), min(bottom + 2, height)
        if covered.crop(around).getextrema() == (255, 255):
            continue
        seen.append(thing)
        if thing.solid and thing.shape is not None:
            for polygon in coarse.polygons(*thing.shape):
                if polygon is not None:
                    drawer.polygon(polygon, fill=255)
    return seen[::-1]
