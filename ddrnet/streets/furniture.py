"""Street furniture: lamps, bollards, traffic lights, and signs with their faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import copysign, cos, sin
from random import Random

import numpy as np

from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Canvas, Shape
from ddrnet.streets.figures import Figure, Piece, Spot, bar, box, disc, limb
from ddrnet.streets.materials import (
    BINS,
    BLACK,
    BLUE,
    GREEN,
    METALS,
    RED,
    WHITE,
    YELLOW,
    Rgb,
    scaled,
)
from ddrnet.streets.things import Course, Footprint, Thing


def sign_panel(rng: Random, center: Spot, size: float) -> Iterator[Piece]:
    """Yield a random sign; `size` is half its width in metres."""
    if rng.random() < 0.2:
        half = (size * rng.uniform(0.7, 1.5), size * rng.uniform(0.6, 1.0))
        return board(rng, center, half, rng.choice((BLUE, WHITE, YELLOW, GREEN)))
    return rng.choice((_ban, _command, _warning, _give_way, _priority, _stop))(center, size)


def board(rng: Random, center: Spot, half: tuple[float, float], paint: Rgb) -> Iterator[Piece]:
    """Yield a rectangle with lines of text; `half` is half its width and height."""
    (x, y), (wide, tall) = center, half
    yield box(x - wide, y - tall, x + wide, y + tall, paint)
    start, ink = x - 0.8 * wide, BLACK if sum(paint) > 400 else WHITE
    for line in (0.45, -0.1, -0.6):
        stop = start + rng.uniform(0.6, 1.5) * wide
        yield bar((start, y + line * tall), (stop, y + line * tall), 0.26 * tall, ink)


def _ban(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield disc(center, (size, size), RED)
    yield disc(center, (0.76 * size, 0.76 * size), WHITE)
    yield bar((x - 0.3 * size, y), (x + 0.3 * size, y), 0.5 * size, BLACK)


def _command(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield disc(center, (size, size), BLUE)
    yield limb((x, y - 0.5 * size), (x, y + 0.5 * size), 0.2 * size, 0.3 * size, WHITE)


def _warning(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield _triangle(x, y, size, size, RED)
    yield _triangle(x, y - 0.06 * size, 0.66 * size, 0.66 * size, WHITE)
    yield bar((x, y - 0.3 * size), (x, y + 0.2 * size), 0.18 * size, BLACK)


def _give_way(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield _triangle(x, y, size, -size, RED)
    yield _triangle(x, y + 0.06 * size, 0.66 * size, -0.66 * size, WHITE)


def _priority(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    for reach, paint in ((size, WHITE), (0.72 * size, YELLOW)):
        yield Piece(((x - reach, y), (x, y + reach), (x + reach, y), (x, y - reach)), paint)


def _stop(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield disc(center, (size, size), RED)
    yield bar((x - 0.6 * size, y), (x + 0.6 * size, y), 0.36 * size, WHITE)


def _triangle(x: float, y: float, wide: float, tall: float, paint: Rgb) -> Piece:
    base = y - 0.8 * tall
    return Piece(((x - wide, base), (x, y + 0.95 * tall), (x + wide, base)), paint)


THIN = 0.08
"""Half the width of a pole in metres, about; a pole is invisible where a pixel covers more."""

SIGNALS = ((60, 220, 120), (250, 180, 40), (250, 50, 40))
"""Paints of the lamps of a traffic light, from the bottom."""


def lamp(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a street lamp with a ball, or with an arm over the road."""
    height, metal = rng.uniform(4.5, 9.0), rng.choice(METALS)
    pole = [limb((0, 0), (0, height), 0.28, 0.2, metal), bar((0, 0), (0, 1.0), 0.34, metal)]
    if rng.random() < 0.3:
        pole.append(disc((0, height + 0.15), (0.28, 0.3), WHITE))
        pole.append(bar((-0.3, height + 0.45), (0.3, height + 0.45), 0.12, metal))
    else:
        reach = -copysign(rng.uniform(0.6, 2.2), right)
        pole.append(bar((0, height), (reach, height + 0.35), 0.15, metal))
        pole.append(
            limb((0.75 * reach, height + 0.3), (1.2 * reach, height + 0.4), 0.2, 0.26, metal)
        )
    return _upright(course, right, forward, ("pole", pole))


def utility_pole(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a pole for wires."""
    height, paint = rng.uniform(6.5, 9.5), rng.choice(METALS)
    arms = [height - 0.4, height - 1.1][: rng.randrange(3)]
    pole = [limb((0, 0), (0, height), 0.36, 0.26, paint)]
    pole += [bar((-0.9, up), (0.9, up), 0.16, paint) for up in arms]
    return _upright(course, right, forward, ("pole", pole))


def bollard(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a bollard."""
    height, metal = rng.uniform(0.7, 1.1), rng.choice((*METALS, WHITE, RED))
    band = bar((0, 0.75 * height), (0, 0.85 * height), 0.22, WHITE)
    pole = (limb((0, 0), (0, height), 0.22, 0.2, metal), band)
    return _upright(course, right, forward, ("pole", pole))


def sign(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return one or two traffic signs on a pole."""
    low, size = rng.uniform(1.9, 2.5), rng.uniform(0.36, 0.56)
    levels = [low + size, low + 3 * size + 0.04][: 1 + (rng.random() < 0.4)]
    panels = [piece for level in levels for piece in sign_panel(rng, (0.0, level), size)]
    pole = [bar((0, 0), (0, levels[-1] + size), 0.14, rng.choice(METALS))]
    return _upright(course, right, forward, ("pole", pole), ("traffic sign", panels))


def gantry(rng: Random, course: Course, half: float, forward: float) -> Thing:
    """Return direction signs above a road of `half` metres to each side."""
    paint, metal = rng.choice((BLUE, GREEN, WHITE, YELLOW)), rng.choice(METALS)
    frame = [limb((side, 0), (side, 6.6), 0.3, 0.26, metal) for side in (-half, half)]
    frame += [bar((-half, up), (half, up), 0.16, metal) for up in (5.6, 6.4)]
    panels: list[Piece] = []
    for middle in ((0.0,), (-0.5, 0.4), (-0.6, 0.0, 0.55))[rng.randrange(3)]:
        size = (rng.uniform(1.1, 1.9), rng.uniform(0.6, 1.0))
        panels += board(rng, (0.8 * half * middle, 6.0), size, paint)
    thing = _upright(course, 0.0, forward, ("pole", frame), ("traffic sign", panels))
    return thing._replace(footprint=Footprint(-half, half, forward - 0.3, forward + 0.3))


def traffic_light(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a traffic light, sometimes with a second one on a mast over the road."""
    metal, lit, low = rng.choice(METALS), rng.randrange(3), rng.uniform(2.2, 2.8)
    pole = [bar((0, 0), (0, low + 0.9), 0.18, metal)]
    heads = list(_signals(0.0, low, lit))
    if rng.random() < 0.35:
        reach = -copysign(rng.uniform(2.5, 4.5), right)
        pole += [limb((0, 0), (0, 5.8), 0.26, 0.2, metal), bar((0, 5.7), (reach, 6.0), 0.18, metal)]
        heads += _signals(reach, 5.1, lit)
    return _upright(course, right, forward, ("pole", pole), ("traffic light", heads))


def clutter(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a bin or a cabinet, which belong to no trained class."""
    width, height = rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.4)
    paint = rng.choice(BINS)
    pieces = (
        limb((0, 0), (0, height), 2 * width, 1.8 * width, paint),
        bar((-width, height), (width, height), 0.08, scaled(paint, 0.6)),
    )
    return _upright(course, right, forward, ("static", pieces))


def _signals(x: float, low: float, lit: int) -> Iterator[Piece]:
    """Yield a box of three lamps above `low`."""
    yield box(x - 0.24, low, x + 0.24, low + 1.1, BLACK)
    for index, paint in enumerate(SIGNALS):
        shown = paint if index == lit else scaled(paint, 0.25)
        yield disc((x, low + 0.2 + 0.35 * index), (0.15, 0.15), shown)


def _upright(
    course: Course, right: float, forward: float, *layers: tuple[str, Sequence[Piece]]
) -> Thing:
    """Return flat figures across the street, each of one class."""
    heading = course.heading(forward)
    foot, axis = course.foot(right, forward), np.array([cos(heading), 0.0, -sin(heading)])
    figures = [(label, Figure.of(pieces)) for label, pieces in layers]
    shapes = [figure.shape(foot, axis) for _, figure in figures]
    corners = np.concatenate([shape.corners for shape in shapes])
    return Thing(
        Footprint.around(right, forward, 0.2),
        partial(_paint, figures, foot, axis),
        height=float(corners[:, 1].max()),
        spread=float(abs(corners[:, 0] - foot[0]).max()),
        shape=Shape(corners, [count for shape in shapes for count in shape.counts]),
    )


def _paint(
    figures: Sequence[tuple[str, Figure]], foot: Points, axis: Points, canvas: Canvas
) -> None:
    distance = canvas.camera.distance(foot)
    if distance > THIN * canvas.camera.focal:
        return
    facing = canvas.light.facing(float(axis[2]), 0.0, -float(axis[0]))
    tone = canvas.light.tone(distance, facing + 0.15)
    for label, figure in figures:
        canvas.paint(label, figure.mesh(foot, axis, tone))
