"""Cars, trucks, buses and trains, painted from their side profiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import cos, hypot, sin
from random import Random
from typing import NamedTuple

import numpy as np

from ddrnet.streets.camera import Corner, Points
from ddrnet.streets.canvas import Canvas, Mesh, Shape
from ddrnet.streets.figures import arc
from ddrnet.streets.light import Tone
from ddrnet.streets.materials import BLACK, GREY, LIVERIES, SILVER, Paint, Rgb
from ddrnet.streets.things import Course, Footprint, Thing, box_shape
from ddrnet.streets.vehicle_models import MODELS, Face, Hull, Model, Spot

GLASS: Rgb = (58, 68, 78)
REFLECTION: Rgb = (150, 164, 178)
PLATE: Rgb = (228, 226, 214)


class Mark(NamedTuple):
    """A rectangle on the rear or the front, repeated on both sides of the middle.

    Attributes:
        inner: Its inner edge, as a fraction of half the width of the vehicle.
        outer: Its outer edge, as a fraction of half the width of the vehicle.
        low: Its lower edge in metres above the ground.
        high: Its upper edge in metres above the ground.
        paint: Its colour.
    """

    inner: float
    outer: float
    low: float
    high: float
    paint: Rgb


MARKS: dict[Face, tuple[Mark, ...]] = {
    "rear": (
        Mark(0.66, 0.96, 0.7, 0.92, (196, 24, 28)),
        Mark(0.0, 0.3, 0.46, 0.58, PLATE),
        Mark(0.0, 0.9, 0.3, 0.4, BLACK),
    ),
    "front": (
        Mark(0.6, 0.94, 0.6, 0.74, (236, 236, 226)),
        Mark(0.0, 0.5, 0.56, 0.72, BLACK),
        Mark(0.0, 0.28, 0.42, 0.54, PLATE),
        Mark(0.0, 0.88, 0.28, 0.38, GREY),
    ),
    "glass": (Mark(0.0, 0.75, 2.62, 2.86, BLACK), Mark(0.05, 0.6, 2.68, 2.8, (240, 150, 40))),
}
"""Lights, plates and grilles, and a destination board on tall windscreens."""

WHEEL = ((1.14, (20, 20, 22)), (1.0, BLACK), (0.6, SILVER), (0.2, BLACK))
"""Radius of each ring of a wheel, as a fraction of the radius of the tyre, and its paint."""


class Vehicle(NamedTuple):
    """One vehicle at its place.

    Attributes:
        model: Its kind.
        paints: Paint of each hull.
        foot: The world point under its middle.
        heading: Its direction in radians, clockwise from straight ahead.
    """

    model: Model
    paints: tuple[Rgb, ...]
    foot: Points
    heading: float

    def world(self, local: Points) -> Points:
        """Return (n, 3) points along, up and to the right of the vehicle as world points."""
        sine, cosine = sin(self.heading), cos(self.heading)
        axes = np.array([[sine, 0, cosine], [0, 1, 0], [cosine, 0, -sine]])
        world: Points = self.foot + (local - (0.5 * self.model.length, 0, 0)) @ axes
        return world

    def local(self, point: Points) -> Corner:
        """Return one world point as along, up and to the right of the vehicle."""
        x, y, z = (point - self.foot).tolist()
        sine, cosine = sin(self.heading), cos(self.heading)
        return x * sine + z * cosine + 0.5 * self.model.length, y, x * cosine - z * sine


class Bodywork:
    """Collects the polygons of one vehicle, in its own coordinates: along, up, to the right."""

    def __init__(self, vehicle: Vehicle, canvas: Canvas) -> None:
        self._vehicle, self._light = vehicle, canvas.light
        self._eye = vehicle.local(canvas.camera.position)
        self._distance = max(canvas.camera.distance(vehicle.foot), 2.0)
        self._pixel = self._distance / canvas.camera.focal  # metres per pixel
        self._half = 0.5 * vehicle.model.width
        self._side = 1.0 if self._eye[2] > 0 else -1.0
        self._corners: list[Corner] = []
        self._counts: list[int] = []
        self._paints: list[Paint] = []

    def mesh(self) -> Mesh:
        """Return all visible parts, the far ones first."""
        vehicle = self._vehicle
        from_behind = self._eye[0] < 0.5 * vehicle.model.length
        shows_side = abs(self._eye[2]) > self._half
        self._tyres(-1.0 if from_behind else 1.0)
        hulls = list(zip(vehicle.model.hulls, vehicle.paints, strict=True))
        for hull, paint in reversed(hulls) if from_behind else hulls:
            for (start, stop), face in zip(pairwise(hull.outline), hull.faces, strict=True):
                self._stretch(hull, start, stop, face, paint)
            if shows_side:
                self._flank(hull, paint)
        if shows_side:
            self._wheels()
        return Mesh(vehicle.world(np.array(self._corners)), self._counts, self._paints)

    def _tyres(self, towards: float) -> None:
        """Add the tyres seen from the front (1) or the rear (-1), and the dark gap between them."""
        paint, half = self._tone(towards, 0.0, 0.0).color(BLACK), self._half
        for along, radius in self._vehicle.model.wheels:
            at = along + 0.8 * towards * radius
            for left, right, low in ((-1, 1, 0.4), (-1, -0.78, 0), (0.78, 1, 0)):
                sides, ups = (left * half, right * half), (low * radius, 1.2 * radius)
                self._add([(at, ups[up], sides[side]) for up, side in _AROUND], paint)

    def _wheels(self) -> None:
        """Add the wheels of the visible side."""
        tone = self._tone(0.0, 0.0, self._side)
        across = 1.005 * self._side * self._half
        for along, radius in self._vehicle.model.wheels:
            for scale, paint in WHEEL[: 4 if self._pixel < 0.04 else 2]:
                reach = scale * radius
                ring = [(along + reach * c, radius + reach * s) for c, s in arc(0, 330)]
                self._add([(x, max(up, 0.0), across) for x, up in ring], tone.color(paint))

    def _stretch(self, hull: Hull, start: Spot, stop: Spot, face: Face, paint: Rgb) -> None:
        """Add the face between two points of the outline if it faces the camera."""
        along, up = stop[0] - start[0], stop[1] - start[1]
        length = hypot(along, up)
        forward, upward = -up / length, along / length
        if forward * (self._eye[0] - start[0]) + upward * (self._eye[1] - start[1]) <= 0:
            return
        tone = self._tone(forward, upward, 0.0)
        self._band(hull, start, stop, (-1.0, 1.0), tone.color(paint))
        if face == "glass":
            low, middle, high = (_between(start, stop, share) for share in (0.06, 0.5, 0.94))
            self._band(hull, low, high, (-0.9, 0.9), tone.color(GLASS))
            upper = (middle, high) if up > 0 else (low, middle)
            self._band(hull, *upper, (-0.9, 0.9), (*tone.color(REFLECTION), 90))
        if face in MARKS and self._pixel < 0.12:
            self._marks(hull, start, stop, face, tone)

    def _marks(self, hull: Hull, start: Spot, stop: Spot, face: Face, tone: Tone) -> None:
        floor, ceiling = sorted((start[1], stop[1]))
        for mark in MARKS[face]:
            levels = max(mark.low, floor), min(mark.high, ceiling)
            if levels[1] - levels[0] < 0.05:
                continue
            rise = stop[1] - start[1]
            low, high = (_between(start, stop, (up - start[1]) / rise) for up in levels)
            for side in (-1, 1):
                sides = (side * mark.inner, side * mark.outer)
                self._band(hull, low, high, sides, tone.color(mark.paint))

    def _flank(self, hull: Hull, paint: Rgb) -> None:
        """Add the visible side: darker at the sill, brighter at the shoulder, with windows."""
        tone = self._tone(0.0, 0.0, self._side)
        self._profile(hull, hull.outline, tone.color(paint))
        (rear, low), (front, _) = hull.outline[0], hull.outline[-1]
        shoulder = min(hull.belt, 0.7 * hull.top)
        sill = low + 0.22 * (shoulder - low)
        self._panel(hull, rear, front - 0.1, low, sill, (0, 0, 0, 70))
        self._panel(hull, rear, front - 0.1, 0.75 * shoulder, shoulder, (255, 255, 255, 26))
        for window in hull.windows:
            self._profile(hull, window, tone.color(GLASS))
            first, second, third, fourth = window
            if self._pixel < 0.06:
                sides = _between(first, second, 0.5), _between(fourth, third, 0.5)
                upper = (sides[0], second, third, sides[1])
                self._profile(hull, upper, (*tone.color(REFLECTION), 70))
            if self._pixel < 0.025:
                seam = first[0] - 0.04
                self._panel(hull, seam, seam + 0.025, low + 0.1, second[1], (0, 0, 0, 110))

    def _panel(
        self, hull: Hull, rear: float, front: float, low: float, high: float, paint: Paint
    ) -> None:
        self._profile(hull, ((rear, low), (rear, high), (front, high), (front, low)), paint)

    def _profile(self, hull: Hull, outline: Sequence[Spot], paint: Paint) -> None:
        """Add a polygon on the visible side."""
        across = self._side * self._half
        self._add([(along, up, across * hull.leaning(up)) for along, up in outline], paint)

    def _band(
        self, hull: Hull, start: Spot, stop: Spot, sides: tuple[float, float], paint: Paint
    ) -> None:
        """Add a part of a stretch between two fractions of half its width."""
        ends, widths = (start, stop), (hull.leaning(start[1]), hull.leaning(stop[1]))
        self._add(
            [(*ends[end], self._half * widths[end] * sides[side]) for end, side in _AROUND], paint
        )

    def _add(self, corners: list[Corner], paint: Paint) -> None:
        self._corners += corners
        self._counts.append(len(corners))
        self._paints.append(paint)

    def _tone(self, along: float, up: float, right: float) -> Tone:
        """Return the light on a face with this normal; faces towards the sky are brighter."""
        sine, cosine = sin(self._vehicle.heading), cos(self._vehicle.heading)
        facing = self._light.facing(
            along * sine + right * cosine, up, along * cosine - right * sine
        )
        return self._light.tone(self._distance, facing + 0.2 * max(up, 0.0))


_AROUND = ((0, 0), (1, 0), (1, 1), (0, 1))
"""The corners of a rectangle, in order."""


def _between(a: Spot, b: Spot, share: float) -> Spot:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def vehicle(
    rng: Random, course: Course, kind: str, right: float, forward: float, *, turned: float = 0.0
) -> Thing:
    """Return a vehicle of a kind, `turned` radians clockwise from the direction of the street."""
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
    """Return each hull as a box with a shorter top."""
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
