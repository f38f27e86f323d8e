"""Flat figures: polygons in an upright plane."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import cos, hypot, radians, sin
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Mesh, Shape
from ddrnet.streets.light import Tone
from ddrnet.streets.materials import Paint

Spot: TypeAlias = tuple[float, float]
"""Metres sideways and up from the foot of a figure."""


class Piece(NamedTuple):
    """A polygon of a flat figure, and its paint before light and haze."""

    outline: tuple[Spot, ...]
    paint: Paint


class Figure(NamedTuple):
    """The pieces of a figure in one array.

    Attributes:
        spots: (n, 2) corners of all pieces, sideways and up.
        counts: Corners of each piece.
        paints: Paint of each piece before light and haze.
    """

    spots: NDArray[np.float64]
    counts: tuple[int, ...]
    paints: tuple[Paint, ...]

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> Figure:
        """Return a figure of pieces, painted in order over each other."""
        outlines, paints = zip(*pieces, strict=True)
        spots = np.array([spot for outline in outlines for spot in outline])
        return cls(spots, tuple(len(outline) for outline in outlines), paints)

    def shape(self, foot: Points, axis: Points) -> Shape:
        """Place the figure at `foot` along `axis` in the world."""
        corners = foot + self.spots[:, :1] * axis
        corners[:, 1] += self.spots[:, 1]
        return Shape(corners, self.counts)

    def mesh(self, foot: Points, axis: Points, tone: Tone) -> Mesh:
        """Return the figure as seen by a camera."""
        seen: list[Paint] = []
        for paint in self.paints:
            r, g, b = tone.color(paint[:3])
            seen.append((r, g, b, paint[3]) if len(paint) == 4 else (r, g, b))
        return Mesh(*self.shape(foot, axis), seen)


def limb(start: Spot, stop: Spot, thick: float, thin: float, paint: Paint) -> Piece:
    """Return a stroke that tapers from `thick` to `thin` metres."""
    (x, y), (x_end, y_end) = start, stop
    length = hypot(x_end - x, y_end - y) or 1.0
    across, up = (y - y_end) / length / 2, (x_end - x) / length / 2
    outline = (
        (x + across * thick, y + up * thick),
        (x_end + across * thin, y_end + up * thin),
        (x_end - across * thin, y_end - up * thin),
        (x - across * thick, y - up * thick),
    )
    return Piece(outline, paint)


def bar(start: Spot, stop: Spot, width: float, paint: Paint) -> Piece:
    """Return a stroke of one width."""
    return limb(start, stop, width, width, paint)


def box(left: float, low: float, right: float, high: float, paint: Paint) -> Piece:
    """Return an upright rectangle."""
    return Piece(((left, low), (left, high), (right, high), (right, low)), paint)


def disc(
    center: Spot, radius: Spot, paint: Paint, start: float = 0.0, stop: float = 330.0
) -> Piece:
    """Return an ellipse, or its part between two angles in degrees."""
    (x, y), (wide, tall) = center, radius
    return Piece(tuple((x + wide * c, y + tall * s) for c, s in arc(start, stop)), paint)


@cache
def arc(start: float, stop: float) -> tuple[Spot, ...]:
    """Return twelve points of the unit circle between two angles in degrees."""
    angles = [radians(start + (stop - start) * step / 11) for step in range(12)]
    return tuple((cos(angle), sin(angle)) for angle in angles)
