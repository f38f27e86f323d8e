"""The pinhole camera: projects world metres to whole pixels and clips polygons at the frame."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
"""(..., 3) world coordinates in metres: right, up, and forward along the street."""

Polygon: TypeAlias = list[int]
"""Pixel coordinates x0, y0, x1, y1, ... inside the frame, as Pillow draws them."""

Corner: TypeAlias = tuple[float, float, float]

NEAR = 0.5
"""Nearest visible distance from the lens, in metres."""


class Camera:
    """A camera in a car, above the street at distance 0.

    Args:
        size: Height and width of the picture in pixels.
        focal: Focal length as a fraction of the picture's longer side.
        position: Right, up and forward in metres.
        yaw: Turn to the right in radians.
        pitch: Tilt downwards in radians.
        roll: Turn about the line of sight in radians, clockwise.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        focal: float,
        position: tuple[float, float, float],
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
    ) -> None:
        self.position = np.array(position)
        self._rotation = _about_sight(roll) @ _about_right(pitch) @ _about_up(yaw)
        self._hold_lens(size, focal * max(size))

    def resized(self, longer: int) -> Camera:
        """Return this camera with another number of pixels along the longer side."""
        scale = longer / max(self.height, self.width)
        camera = copy(self)
        size = max(1, round(scale * self.height)), max(1, round(scale * self.width))
        camera._hold_lens(size, scale * self.focal)
        return camera

    def _hold_lens(self, size: tuple[int, int], focal: float) -> None:
        self.height, self.width = size
        self.focal = focal
        x, y = (self.width - 1) / 2, (self.height - 1) / 2
        self._to_pixels = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]]) @ self._rotation
        # A point (column x depth, row x depth, depth) is in the frame if its product with the first
        # three values of each row is at least the fourth.
        self._edges = np.array(
            [
                (0, 0, 1, NEAR),
                (1, 0, 0, 0),
                (-1, 0, self.width - 1, 0),
                (0, 1, 0, 0),
                (0, -1, self.height - 1, 0),
            ]
        )

    @property
    def right(self) -> Points:
        """The horizontal unit vector along which upright figures face the camera."""
        x, _, z = self._rotation[0]
        direction: Points = np.array([x, 0.0, z]) / np.hypot(x, z)
        return direction

    def distance(self, point: Points) -> float:
        """Return the metres from the camera to one world point."""
        x, y, z = (point - self.position).tolist()
        return float((x * x + y * y + z * z) ** 0.5)

    def vanishing_point(self, direction: Points) -> tuple[float, float] | None:
        """Return the pixel where lines along `direction` meet; None behind the camera."""
        x, y, z = (self._to_pixels @ direction).tolist()
        return (x / z, y / z) if z > 1e-3 else None

    def in_sight(self, groups: Points) -> NDArray[np.bool_]:
        """Return which groups of (n, k, 3) points may reach into the frame, (n,) bool."""
        held = self._view(groups) @ self._edges[:, :3].T >= self._edges[:, 3]
        in_sight: NDArray[np.bool_] = held.any(axis=1).all(axis=1)
        return in_sight

    def frames(self, groups: Points) -> NDArray[np.int64]:
        """Return (n, 4) left, top, right, bottom pixels around (n, k, 3) points, in the frame."""
        seen = self._view(groups)
        depth = seen[..., 2:]
        pixels = seen[..., :2] / np.maximum(depth, NEAR)
        pixels = pixels.clip(0, (self.width - 1, self.height - 1)).round().astype(np.int64)
        frames = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
        frames[(depth < NEAR).any(axis=(1, 2))] = 0, 0, self.width - 1, self.height - 1
        return frames

    def polygons(self, corners: Points, counts: Sequence[int]) -> list[Polygon | None]:
        """Project polygons, clipped at the frame; None for invisible ones.

        Args:
            corners: (n, 3) corners of all polygons.
            counts: Number of corners of each polygon.
        """
        seen = self._view(corners)
        held = seen @ self._edges[:, :3].T >= self._edges[:, 3]
        stops = list(accumulate(counts))
        spans = zip([0, *stops], stops, strict=False)
        if held.all():
            flat: Polygon = (seen[:, :2] / seen[:, 2:]).round().astype(np.int64).ravel().tolist()
            return [flat[2 * start : 2 * stop] for start, stop in spans]
        rays: list[Corner] = seen.tolist()
        inside: list[bool] = held.all(axis=1).tolist()
        return [
            _pixels(rays[start:stop] if all(inside[start:stop]) else self._cut(rays[start:stop]))
            for start, stop in spans
        ]

    def polygon(self, corners: Points) -> Polygon | None:
        """Project one polygon of (n, 3) corners, clipped at the frame; None if it is invisible."""
        return self.polygons(corners, [len(corners)])[0]

    def texture_map(self, origin: Points, across: Points, down: Points) -> tuple[Corner, ...]:
        """Return the 3 x 3 matrix from pixels to texels, both in homogeneous coordinates.

        Args:
            origin: The world point of texel (0, 0).
            across: The world vector from one texel to the next in its row.
            down: The world vector from one texel to the next in its column.
        """
        # Up to scale, the cross products of the columns form the inverse of the matrix.
        a, b, c = (np.stack([across, down, origin - self.position]) @ self._to_pixels.T).tolist()
        return _cross(b, c), _cross(c, a), _cross(a, b)

    def _view(self, points: Points) -> Points:
        """Return the homogeneous pixel coordinates of points: (column, row, 1) times the depth."""
        seen: Points = (points - self.position) @ self._to_pixels.T
        return seen

    def _cut(self, shape: list[Corner]) -> list[Corner]:
        for a, b, c, least in self._edges.tolist():
            shape = _clip(shape, (a, b, c), least)
        return shape


def _pixels(shape: list[Corner]) -> Polygon | None:
    if not shape:
        return None
    return [round(value) for x, y, depth in shape for value in (x / depth, y / depth)]


def _cross(a: Sequence[float], b: Sequence[float]) -> Corner:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _clip(shape: list[Corner], edge: Corner, least: float) -> list[Corner]:
    """Clip a polygon to the side of `edge` with products of at least `least`."""
    a, b, c = edge
    margins = [a * x + b * y + c * z - least for x, y, z in shape]
    if min(margins, default=0.0) >= 0:
        return shape
    kept: list[Corner] = []
    previous, before = shape[-1], margins[-1]
    for corner, margin in zip(shape, margins, strict=True):
        if (margin < 0) != (before < 0):
            share = before / (before - margin)
            x, y, z = (p + share * (q - p) for p, q in zip(previous, corner, strict=True))
            kept.append((x, y, z))
        if margin >= 0:
            kept.append(corner)
        previous, before = corner, margin
    return kept


def _about_up(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    # Only here, up in the world becomes down in the picture.
    return np.array([[c, 0, -s], [0, -1, 0], [s, 0, c]])


def _about_right(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_sight(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
