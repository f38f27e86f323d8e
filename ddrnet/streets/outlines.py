"""One polygon around a mask: Pillow draws exactly its pixels from it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddrnet.data.streets.camera import Polygon

Corners: TypeAlias = NDArray[np.int64]
"""(n, 2) column and row of pixels."""


def outline(box: tuple[int, int, int, int], mask: Image.Image) -> Polygon:
    """Return the polygon around a mask's pixels and the gaps in its columns.

    Args:
        box: Where the mask lies in the picture: left, top, right, bottom.
        mask: Not 0 inside.
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
    """Return a polygon moved by whole pixels."""
    moved = polygon.copy()
    moved[::2] = [value + right for value in polygon[::2]]
    moved[1::2] = [value + down for value in polygon[1::2]]
    return moved


def _stairs(columns: Corners, rows: Corners, landings: Corners) -> Corners:
    """Return the corners of a walk over (column, row) that changes columns at the landings."""
    walk = np.empty((3 * len(columns) - 2, 2), dtype=np.int64)
    walk[::3, 0], walk[::3, 1] = columns, rows
    walk[1::3, 0], walk[1::3, 1] = columns[:-1], landings
    walk[2::3, 0], walk[2::3, 1] = columns[1:], landings
    return walk


def _without_straight(corners: Corners) -> Corners:
    """Leave out the corners at which an upright and level walk does not turn."""
    steps = corners - np.concatenate([corners[-1:], corners[:-1]])
    moving = steps.any(axis=1)
    if not moving.any():
        return corners[[0, 0]]
    corners, steps = corners[moving], np.sign(steps[moving])
    turning = (steps != np.concatenate([steps[1:], steps[:1]])).any(axis=1)
    turns: Corners = corners[turning]
    return turns
