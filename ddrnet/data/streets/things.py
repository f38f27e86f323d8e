"""What stands in a street: where it stands, how it is painted, what throws its shadow."""

from __future__ import annotations

from collections.abc import Callable
from math import atan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddrnet.data.streets.camera import Points
from ddrnet.data.streets.canvas import Canvas, Shape


class Course(NamedTuple):
    """How the street runs: straight ahead at the camera, bending evenly further on.

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
        """Return one spot on the ground as a world point."""
        return np.array([right + 0.5 * self.bend * forward * forward, 0.0, forward])

    def heading(self, forward: float) -> float:
        """Return the street's direction in radians, clockwise from straight ahead."""
        return atan(self.bend * forward)


class Footprint(NamedTuple):
    """The ground a thing takes, in street coordinates."""

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
        """Return a stretch of one side, between two distances from the middle."""
        left, right = sorted((sign * inner, sign * outer))
        return cls(left, right, near, far)


class Thing(NamedTuple):
    """One thing that stands on the ground.

    Attributes:
        footprint: Where it stands, to tell what hides what.
        paint: Paints it onto a canvas.
        height: Metres from the ground to its top.
        spread: Metres by which it reaches beyond its footprint.
        shape: What throws its shadow, none if nothing does.
        solid: Whether `shape` hides what is behind.
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
