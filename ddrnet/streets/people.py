"""Pedestrians as flat figures that face the camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import copysign
from random import Random
from typing import NamedTuple

import numpy as np

from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Canvas, Shape
from ddrnet.streets.figures import Figure, Piece, Spot, disc, limb
from ddrnet.streets.materials import CLOTHES, GREY, HAIRS, SKINS, TROUSERS, Rgb, scaled
from ddrnet.streets.things import Course, Footprint, Thing

At = Callable[[float, float], Spot]
"""Maps fractions of the height of a body to metres."""

SHADE = (0, 0, 0, 40)


class Outfit(NamedTuple):
    """The appearance of a person.

    Attributes:
        top: Paint of the jacket.
        legs: Paint of the trousers.
        skin: Paint of the skin.
        hair: Paint of hair or hat.
        bag: Paint of a bag, if any.
        hem: Lower end of the jacket, as a fraction of the height of the body.
        skirt: Whether a skirt covers the legs to the knee.
    """

    top: Rgb
    legs: Rgb
    skin: Rgb
    hair: Rgb
    bag: Rgb | None
    hem: float
    skirt: bool

    @classmethod
    def draw(cls, rng: Random) -> Outfit:
        """Return random clothes."""
        return cls(
            rng.choice(CLOTHES),
            rng.choice(TROUSERS),
            rng.choice(SKINS),
            rng.choice(HAIRS),
            rng.choice(CLOTHES) if rng.random() < 0.4 else None,
            rng.choice((0.5, 0.48, 0.36)),
            rng.random() < 0.15,
        )


def person(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a random person standing or walking at a point of the street."""
    height = rng.uniform(1.0, 1.45) if rng.random() < 0.12 else rng.gauss(1.72, 0.08)
    foot, footprint = course.foot(right, forward), Footprint.around(right, forward, 0.25)
    shape = Shape(foot + height * _SILHOUETTE, (len(_SILHOUETTE),))
    paint = partial(_paint, rng.getrandbits(32), height, foot)
    return Thing(footprint, paint, height, 0.3, shape)


_SILHOUETTE = np.array(
    [(-0.08, 0, 0), (-0.13, 0.6, 0), (-0.05, 1, 0), (0.05, 1, 0), (0.13, 0.6, 0), (0.08, 0, 0)]
)
"""The shape of the shadow of a body 1 m high."""


def head(center: Spot, size: float, outfit: Outfit) -> Iterator[Piece]:
    """Yield a head with hair; `size` is half its height in metres."""
    x, y = center
    yield disc(center, (0.78 * size, size), outfit.skin)
    yield disc((x, y + 0.15 * size), (0.86 * size, 0.95 * size), outfit.hair, 5, 175)


def _paint(seed: int, height: float, foot: Points, canvas: Canvas) -> None:
    rng = Random(seed)  # hidden people are never drawn
    stride = rng.choice((-1.0, 1.0)) * rng.choice((0.15, 0.6, 1.0))
    figure = Figure.of(_walker(Outfit.draw(rng), height, stride, rng.uniform(0.85, 1.2)))
    tone = canvas.light.tone(canvas.camera.distance(foot), 0.45, sunlit=canvas.sunlit(foot))
    canvas.paint("person", figure.mesh(foot, canvas.camera.right, tone))


def _walker(outfit: Outfit, height: float, stride: float, build: float) -> Iterator[Piece]:
    """Yield the pieces of a walking person, the far arm and leg first."""

    def at(x: float, y: float) -> Spot:
        return x * height, y * height

    width = 0.105 * build
    yield from _leg(at, -0.8 * stride, -0.03, outfit, scaled(outfit.legs, 0.8))
    yield from _arm(at, -width, -stride, outfit, scaled(outfit.top, 0.85))
    yield from _leg(at, stride, 0.03, outfit, outfit.legs)
    if outfit.skirt:
        yield limb(at(0, 0.55), at(0, 0.3), 0.14 * height, 0.24 * height, outfit.legs)
    if outfit.bag is not None and stride > 0:
        yield limb(at(-0.12, 0.58), at(-0.12, 0.8), 0.13 * height, 0.13 * height, outfit.bag)
    yield from _torso(at, 0.95 * width, outfit)
    yield from _arm(at, width, stride, outfit, outfit.top)
    if outfit.bag is not None and stride < 0:
        yield limb(at(0.13, 0.4), at(0.13, 0.55), 0.09 * height, 0.09 * height, outfit.bag)
    yield from head(at(copysign(0.01, stride), 0.92), 0.075 * height, outfit)


def _torso(at: At, width: float, outfit: Outfit) -> Iterator[Piece]:
    neck, waist, hem = 0.035, 0.85 * width, outfit.hem
    yield Piece((at(-neck, 0.78), at(-neck, 0.87), at(neck, 0.87), at(neck, 0.78)), outfit.skin)
    right = (at(0.05, 0.83), at(1.05 * width, 0.78), at(waist, 0.6), at(0.95 * width, hem))
    left = (at(-0.95 * width, hem), at(-waist, 0.6), at(-1.05 * width, 0.78), at(-0.05, 0.83))
    yield Piece((*right, *left), outfit.top)
    yield Piece((at(0, 0.82), *right[1:], at(0.02, hem)), SHADE)


def _leg(at: At, stride: float, hip: float, outfit: Outfit, paint: Rgb) -> Iterator[Piece]:
    knee, ankle = (hip + 0.06 * stride, 0.27), (hip + 0.12 * stride, 0.04)
    thick, thin, shin = (at(width, 0)[0] for width in (0.095, 0.07, 0.048))
    yield limb(at(hip, 0.52), at(*knee), thick, thin, paint)
    yield limb(at(*knee), at(*ankle), thin, shin, outfit.skin if outfit.skirt else paint)
    heel, toe = ankle[0] - 0.02, ankle[0] + copysign(0.05, stride)
    yield limb(at(heel, 0.02), at(toe, 0.015), at(0.04, 0)[0], at(0.03, 0)[0], scaled(GREY, 0.6))


def _arm(at: At, side: float, swing: float, outfit: Outfit, paint: Rgb) -> Iterator[Piece]:
    elbow, hand = at(1.15 * side - 0.03 * swing, 0.63), at(1.15 * side + 0.02 * swing, 0.48)
    thick, middle, thin = (at(width, 0)[0] for width in (0.06, 0.05, 0.04))
    yield limb(at(0.92 * side, 0.78), elbow, thick, middle, paint)
    yield limb(elbow, hand, middle, thin, paint)
    yield disc(hand, at(0.02, 0.025), outfit.skin)
