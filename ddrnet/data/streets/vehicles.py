"""Cars, trucks, buses and trams where they stand."""

from __future__ import annotations

from functools import partial
from math import cos, sin
from random import Random

import numpy as np

from ddrnet.data.streets.bodywork import Bodywork, Vehicle
from ddrnet.data.streets.canvas import Canvas, Shape
from ddrnet.data.streets.models import MODELS
from ddrnet.data.streets.paints import LIVERIES
from ddrnet.data.streets.things import Course, Footprint, Thing, box_shape


def vehicle(
    rng: Random, course: Course, kind: str, right: float, forward: float, *, turned: float = 0.0
) -> Thing:
    """Return a vehicle of a kind, `turned` radians clockwise from the street's direction."""
    model = MODELS[kind]
    paints = [rng.choice(LIVERIES[model.label]) for _ in model.hulls]
    if model.label in {"train", "bus"}:
        paints = paints[:1] * len(paints)
    heading = course.heading(forward) + turned
    placed = Vehicle(model, tuple(paints), course.foot(right, forward), heading)
    sine, cosine = abs(sin(turned)) / 2, abs(cos(turned)) / 2
    across = model.width * cosine + model.length * sine
    along = model.width * sine + model.length * cosine
    return Thing(
        Footprint(right - across, right + across, forward - along, forward + along),
        partial(_paint, placed),
        model.height,
        shape=_boxes(placed),
        solid=True,
    )


def _boxes(placed: Vehicle) -> Shape:
    """Return each hull as a box that is shorter at its top."""
    half = 0.47 * placed.model.width
    boxes = []
    for hull in placed.model.hulls:
        high = [along for along, up in hull.outline if up > 0.85 * hull.top]
        ends = ((0.0, hull.outline[0][0], hull.outline[-1][0]), (hull.top, min(high), max(high)))
        corners = [
            (along, up, side)
            for up, rear, front in ends
            for along, side in ((rear, -half), (rear, half), (front, half), (front, -half))
        ]
        boxes.append(box_shape(placed.world(np.array(corners))))
    return Shape(np.concatenate([box.corners for box in boxes]), [4] * 5 * len(boxes))


def _paint(placed: Vehicle, canvas: Canvas) -> None:
    canvas.paint(placed.model.label, Bodywork(placed, canvas).mesh())
