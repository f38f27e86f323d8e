"""Bicycles and motorcycles, parked or ridden."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import cos, sin
from random import Random
from typing import Literal, NamedTuple

import numpy as np

from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Canvas, Shape
from ddrnet.streets.figures import Figure, Piece, Spot, arc, bar, disc, limb
from ddrnet.streets.materials import BLACK, CLOTHES, FRAMES, GREY, JACKETS, SILVER, Rgb, scaled
from ddrnet.streets.people import Outfit, head
from ddrnet.streets.things import Course, Footprint, Thing

Kind = Literal["bicycle", "motorcycle"]

SPOKES = (90, 92, 96, 130)
LAMP: Rgb = (228, 224, 200)


class Cycle(NamedTuple):
    """One bicycle or motorcycle at its place.

    Attributes:
        kind: Class of its pixels.
        ridden: Whether it has a rider.
        foot: The world point under its middle.
        heading: Unit vector of its direction.
        seed: Chooses its look.
    """

    kind: Kind
    ridden: bool
    foot: Points
    heading: Points
    seed: int


def cycle(
    rng: Random,
    course: Course,
    kind: Kind,
    right: float,
    forward: float,
    *,
    turned: float,
    ridden: bool,
) -> Thing:
    """Return a random cycle, `turned` radians clockwise from the street's direction."""
    angle = course.heading(forward) + turned
    foot, heading = course.foot(right, forward), np.array([sin(angle), 0.0, cos(angle)])
    outline = np.array(_RIDDEN if ridden else _PARKED)
    corners = foot + outline[:, :1] * heading
    corners[:, 1] += outline[:, 1]
    reach = 0.35 + 0.55 * abs(sin(turned))
    return Thing(
        Footprint(right - reach, right + reach, forward - 0.7, forward + 0.7),
        partial(_paint, Cycle(kind, ridden, foot, heading, rng.getrandbits(32))),
        height=float(outline[:, 1].max()),
        spread=0.3,
        shape=Shape(corners, (len(outline),)),
    )


_PARKED: tuple[Spot, ...] = ((-0.85, 0), (-0.7, 0.7), (-0.2, 0.9), (0.4, 1.1), (0.85, 0))
_RIDDEN: tuple[Spot, ...] = (*_PARKED[:3], (0.0, 1.5), (0.2, 1.75), (0.4, 1.1), _PARKED[-1])


def _paint(cycle: Cycle, canvas: Canvas) -> None:
    rng, foot = Random(cycle.seed), cycle.foot
    distance = canvas.camera.distance(foot)
    tone = canvas.light.tone(distance, 0.45, sunlit=canvas.sunlit(foot))
    # A flat drawing of the side is invisible from an end.
    end_on = abs((foot - canvas.camera.position) @ cycle.heading) > 0.88 * distance
    axis, draw_rider = (canvas.camera.right, _rider_end) if end_on else (cycle.heading, _rider_side)
    machine = Figure.of(_MACHINES[cycle.kind, end_on](rng.choice(FRAMES[cycle.kind])))
    canvas.paint(cycle.kind, machine.mesh(foot, axis, tone))
    if cycle.ridden:
        outfit = Outfit.draw(rng)._replace(hair=rng.choice(CLOTHES), top=rng.choice(JACKETS))
        # The seat of a motorcycle is lower.
        rider = Figure.of(draw_rider(outfit, 0.1 if cycle.kind == "motorcycle" else 0.0))
        canvas.paint("rider", rider.mesh(foot, axis, tone))


def _wheel(x: float, radius: float, width: float) -> Iterator[Piece]:
    """Yield a wheel with transparent spokes; its tyre is a ring, cut open at the bottom."""
    yield disc((x, radius), (radius, radius), SPOKES)
    inner = radius - width
    rim = [(x + radius * c, radius + radius * s) for c, s in arc(-90, 270)]
    hollow = [(x + inner * c, radius + inner * s) for c, s in arc(270, -90)]
    yield Piece((*rim, *hollow), BLACK)


def _bicycle_side(paint: Rgb) -> Iterator[Piece]:
    for x in (-0.52, 0.52):
        yield from _wheel(x, 0.34, 0.07)
    rear, front, pedal, saddle = (-0.52, 0.34), (0.52, 0.34), (-0.08, 0.3), (-0.22, 0.86)
    neck, handle = (0.36, 0.84), (0.38, 1.02)
    tubes: tuple[tuple[Spot, Spot], ...] = (
        (rear, pedal), (rear, saddle), (pedal, saddle), (pedal, neck), (saddle, neck),
        (handle, front),
    )  # fmt: skip
    for start, stop in tubes:
        yield bar(start, stop, 0.08, paint)
    yield limb((-0.36, 0.9), (-0.1, 0.9), 0.07, 0.05, BLACK)
    yield bar((0.3, 1.03), (0.48, 1.0), 0.05, BLACK)
    yield disc(pedal, (0.09, 0.09), GREY)


def _bicycle_end(paint: Rgb) -> Iterator[Piece]:
    yield bar((0, 0), (0, 0.68), 0.1, BLACK)
    yield bar((0, 0.6), (0, 1.0), 0.12, paint)
    yield bar((-0.3, 1.02), (0.3, 1.02), 0.05, BLACK)
    yield bar((-0.08, 0.9), (0.08, 0.9), 0.09, BLACK)
    yield bar((-0.14, 0.3), (0.14, 0.3), 0.06, GREY)


_ENGINE = ((-0.55, 0.3), (-0.35, 0.66), (0.35, 0.66), (0.4, 0.3), (0.2, 0.2), (-0.3, 0.2))
_TANK = (
    (-0.95, 0.84), (-0.9, 0.7), (-0.3, 0.55), (0.1, 0.62), (0.42, 0.66), (0.5, 0.92), (0.28, 1.0),
    (0.0, 0.92), (-0.3, 0.8),
)  # fmt: skip
_SEAT = ((-0.85, 0.86), (-0.8, 0.76), (-0.05, 0.76), (0.0, 0.9), (-0.4, 0.84))
_FAIRING = ((0.46, 0.74), (0.4, 1.08), (0.52, 1.14), (0.64, 0.84))
_BODY = ((-0.2, 0.45), (-0.24, 0.8), (-0.12, 1.08), (0.12, 1.08), (0.24, 0.8), (0.2, 0.45))


def _motorcycle_side(paint: Rgb) -> Iterator[Piece]:
    for x in (-0.68, 0.7):
        yield from _wheel(x, 0.31, 0.11)
    yield Piece(_ENGINE, GREY)
    yield bar((0.42, 0.98), (0.7, 0.31), 0.08, SILVER)
    yield bar((-0.3, 0.26), (-0.95, 0.34), 0.1, SILVER)
    yield Piece(_TANK, paint)
    yield Piece(_SEAT, BLACK)
    yield Piece(_FAIRING, paint)
    yield bar((0.26, 1.08), (0.46, 1.04), 0.05, BLACK)
    yield disc((0.6, 0.88), (0.07, 0.09), LAMP)


def _motorcycle_end(paint: Rgb) -> Iterator[Piece]:
    yield bar((0, 0), (0, 0.62), 0.17, BLACK)
    yield Piece(_BODY, paint)
    yield bar((-0.38, 1.04), (0.38, 1.04), 0.06, BLACK)
    yield disc((0, 0.84), (0.1, 0.1), LAMP)


def _rider_side(outfit: Outfit, low: float) -> Iterator[Piece]:
    hip, shoulder, knee = (-0.2, 0.95 - low), (0.1, 1.42 - low), (0.2, 0.72 - low / 2)
    elbow, hand, shoe = (0.26, 1.14 - low / 2), (0.38, 1.04), scaled(GREY, 0.6)
    yield limb(hip, knee, 0.17, 0.13, outfit.legs)
    yield limb(knee, (0.05, 0.28), 0.13, 0.09, outfit.legs)
    yield limb((-0.01, 0.25), (0.23, 0.24), 0.08, 0.06, shoe)
    yield limb(hip, shoulder, 0.22, 0.26, outfit.top)
    if outfit.bag is not None:
        yield bar((-0.28, 1.08 - low), (-0.04, 1.44 - low), 0.2, outfit.bag)
    yield limb(shoulder, elbow, 0.11, 0.09, outfit.top)
    yield limb(elbow, hand, 0.09, 0.07, outfit.top)
    yield from head((0.2, 1.6 - low), 0.13, outfit)


def _rider_end(outfit: Outfit, low: float) -> Iterator[Piece]:
    for side in (-1, 1):
        yield limb((0.1 * side, 0.92 - low), (0.15 * side, 0.62), 0.15, 0.12, outfit.legs)
        yield limb((0.15 * side, 0.62), (0.13 * side, 0.35 + 0.05 * side), 0.12, 0.09, outfit.legs)
        yield limb((0.2 * side, 1.38 - low), (0.29 * side, 1.16), 0.12, 0.1, outfit.top)
        yield limb((0.29 * side, 1.16), (0.27 * side, 1.02), 0.1, 0.08, outfit.top)
    right = ((0.1, 1.47 - low), (0.23, 1.38 - low), (0.17, 0.88 - low))
    yield Piece((*right, *((-x, y) for x, y in reversed(right))), outfit.top)
    if outfit.bag is not None:
        yield limb((0, 1.0 - low), (0, 1.4 - low), 0.26, 0.28, outfit.bag)
    yield from head((0.0, 1.6 - low), 0.13, outfit)


_MACHINES: dict[tuple[Kind, bool], Callable[[Rgb], Iterator[Piece]]] = {
    ("bicycle", False): _bicycle_side,
    ("bicycle", True): _bicycle_end,
    ("motorcycle", False): _motorcycle_side,
    ("motorcycle", True): _motorcycle_end,
}
"""Drawing functions of each kind, for the side and for an end."""
