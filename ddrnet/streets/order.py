"""What hides what: the order of painting, and what need not be painted at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ddrnet.data.streets.camera import Camera, Points
from ddrnet.data.streets.things import Footprint, Thing


def painting_order(footprints: Sequence[Footprint], camera: float) -> list[int]:
    """Return the indices of footprints from the hindmost to the foremost.

    Of two footprints apart, the one beyond a line across the street, or beyond a line along it
    as seen from `camera` metres right of the middle, is painted first.
    """
    left, right, near, far = np.array(footprints).reshape(-1, 4).T
    beyond = near[:, None] >= far
    beyond |= (left[:, None] >= right) & (left[:, None] >= camera)
    beyond |= (right[:, None] <= left) & (right[:, None] <= camera)
    hides = beyond & ~beyond.T
    # Waiting for fewer comes first; ties, and circles of overlapping ones, go to the farthest.
    urgency = hides.sum(axis=0) - far / 1e4
    order: list[int] = []
    for _ in footprints:
        chosen = int(urgency.argmin())
        order.append(chosen)
        urgency -= hides[chosen]
        urgency[chosen] = np.inf
    return order


COARSE = 128
"""Longer side in pixels of the map on which hidden things are found."""


def unhidden(things: Sequence[Thing], boxes: Points, camera: Camera) -> list[Thing]:
    """Leave out the things that solid ones before them hide.

    Args:
        things: From the hindmost to the foremost.
        boxes: (n, 8, 3) corners of boxes around them.
        camera: Looks at them.
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
