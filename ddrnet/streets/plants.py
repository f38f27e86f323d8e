"""Trees and bushes: ragged outlines, filled with foliage."""

from __future__ import annotations

from functools import cache, partial
from math import log2
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddrnet.streets.camera import Points
from ddrnet.streets.canvas import Canvas, Mesh, Plane, Shape
from ddrnet.streets.figures import arc
from ddrnet.streets.materials import BARKS, SIDE, Material, Rgb, level_for, paints, tiled
from ddrnet.streets.things import Course, Footprint, Thing

LEAVES = {
    paints("12200c 7a9842"): 8, paints("0e1e10 5c803c"): 8, paints("1a260e 9eac54"): 6,
    paints("142216 708a5c"): 6, paints("181e0a 888e3c"): 5, paints("34220a ce9636"): 2,
    paints("3a1a0c be602e"): 1, paints("2c280e bab046"): 2, paints("28241c 8a7e68"): 2,
    paints("1e0e14 783c46"): 1,
}  # fmt: skip
"""Dark and bright paint of leaves and the weight: green, autumn, bare, red."""

LOBE = 16
"""Pixels of half the height of a plant per additional mass of leaves."""

VARIANTS = 8
"""Number of outlines, and of cut-outs of foliage."""


class Crown(NamedTuple):
    """One mass of leaves: centre and radius, sideways and up, in metres."""

    center: tuple[float, float]
    radius: tuple[float, float]


class Plant(NamedTuple):
    """A tree or a bush.

    Attributes:
        foot: The world point of its base.
        crowns: Masses of leaves, from the hindmost to the foremost.
        trunk: Width and height in metres; None for a bush.
        bark: Paint of the trunk.
        leaves: Dark and bright paint of the leaves.
        foliage: Texture of the leaves.
        seed: Chooses the outlines.
    """

    foot: Points
    crowns: tuple[Crown, ...]
    trunk: tuple[float, float] | None
    bark: Rgb
    leaves: tuple[Rgb, ...]
    foliage: Material
    seed: int


def leaf_paints(rng: Random) -> tuple[Rgb, ...]:
    """Return the dark and the bright paint of random foliage."""
    return rng.choices(list(LEAVES), list(LEAVES.values()))[0]


def tree(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a random tree at a point of the street."""
    height = rng.uniform(4.5, 13.0)
    stem = height * rng.uniform(0.2, 0.34)
    spread = min(height * rng.uniform(0.24, 0.42), 4.2)
    conifer = rng.random() < 0.18
    cone = (Crown((0.0, 0.52 * height), (0.2 * height, 0.48 * height)),)
    foot = course.foot(right, forward)
    plant = Plant(
        foot,
        cone if conifer else _crowns(rng, height, stem, spread),
        (rng.uniform(0.02, 0.035) * height + 0.1, stem + 0.25 * height),
        rng.choice(BARKS),
        leaf_paints(rng),
        "needles" if conifer else rng.choice(("leaves", "leaves", "hedge")),
        rng.getrandbits(30),
    )
    stake = foot + np.array([(-0.1, 0.0, 0.0), (0.1, 0.0, 0.0), (0.0, stem, 0.0)])
    balls = _balls(spread, (height - stem) / 2) + foot + np.array([0.0, (height + stem) / 2, 0.0])
    return Thing(
        Footprint.around(right, forward, 0.3),
        partial(_paint, plant),
        height,
        1.2 * spread,
        Shape(np.concatenate([balls, stake]), (12, 12, 3)),
        solid=not conifer,
    )


def bush(rng: Random, course: Course, right: float, forward: float) -> Thing:
    """Return a random bush at a point of the street."""
    height = rng.uniform(0.6, 2.4)
    spread = height * rng.uniform(0.6, 1.1)
    foot, crowns = course.foot(right, forward), _crowns(rng, 1.15 * height, 0.0, spread)
    seed = rng.getrandbits(30)
    plant = Plant(foot, crowns, None, BARKS[0], leaf_paints(rng), "hedge", seed)
    balls = _balls(spread, 0.55 * height) + foot + np.array([0.0, 0.55 * height, 0.0])
    footprint = Footprint.around(right, forward, 0.4)
    shape = Shape(balls, (12, 12))
    return Thing(footprint, partial(_paint, plant), 1.2 * height, 1.2 * spread, shape)


def _balls(wide: float, tall: float) -> Points:
    """Return two upright ellipses, across and along the street, slightly inside of a crown."""
    wide, tall = 0.85 * wide, 0.85 * tall
    across = [(wide * c, tall * s, 0.0) for c, s in arc(0, 330)]
    return np.array([*across, *((z, y, x) for x, y, z in across)])


def _crowns(rng: Random, height: float, stem: float, spread: float) -> tuple[Crown, ...]:
    """Return one crown and some lobes on it."""
    middle, tall = (height + stem) / 2, (height - stem) / 2
    lobes = [
        Crown(
            (rng.uniform(-0.5, 0.5) * spread, middle + rng.uniform(-0.45, 0.5) * tall),
            (spread * rng.uniform(0.45, 0.7), tall * rng.uniform(0.4, 0.6)),
        )
        for _ in range(rng.randint(1, 3))
    ]
    return Crown((0.0, middle), (spread, tall)), *lobes


def _paint(plant: Plant, canvas: Canvas) -> None:
    foot, distance, right = plant.foot, canvas.camera.distance(plant.foot), canvas.camera.right
    if plant.trunk is not None:
        width, height = plant.trunk
        across, up = right * (width / 2), np.array([0.0, height, 0.0])
        stem = foot + np.array([-across, across, up + 0.55 * across, up - 0.55 * across])
        bark = canvas.light.tone(distance, 0.2).color(plant.bark)
        canvas.paint("vegetation", Mesh(stem, (4,), (bark,)))
    palette = canvas.light.tone(distance, 0.55).palette(*plant.leaves)
    pixel = distance / canvas.camera.focal
    shown = 1 + int(plant.crowns[0].radius[1] / pixel / LOBE)
    for index, ((x, y), (wide, tall)) in enumerate(plant.crowns[:shown]):
        variant = (plant.seed >> 3 * index) % VARIANTS
        halvings = min(max(int(8 - log2(tall / pixel)), 0), 3)
        outline = _outline(variant, halvings, conical=plant.foliage == "needles")
        spots = outline * (wide, tall) + (x, y)
        corners = foot + spots[:, :1] * right
        corners[:, 1] += spots[:, 1]
        side = 2.2 * max(wide, tall)
        level = level_for(pixel, side / SIDE)
        foliage = _foliage(plant.foliage, min(int(side / 3), 2), variant, level)
        corner, step = foot + right * (x - side / 2), side / foliage.width
        corner[1] += y + side / 2
        plane = Plane(corner, right * step, np.array([0.0, -step, 0.0]))
        canvas.textured("vegetation", corners, foliage, plane, palette)


@cache
def _foliage(material: Material, size: int, variant: int, level: int) -> Image.Image:
    """Return leaves lit from above, for a ball of `size` times 3 m."""
    cut = SIDE // 2 * (size + 1)
    rng = Random(variant)
    left, top = rng.randrange(SIDE), rng.randrange(SIDE)
    leaves = tiled(material, 3, 3).crop((left, top, left + cut, top + cut))
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE / 2) - 1
    ball = Image.fromarray((150 - 90 * y - 70 * (x**2 + y**2)).clip(0, 255).astype(np.uint8))
    lit = Image.blend(leaves.resize((SIDE, SIDE), Image.Resampling.BILINEAR), ball, 0.42)
    return lit.reduce(2**level)


@cache
def _outline(variant: int, halvings: int, *, conical: bool) -> NDArray[np.float64]:
    """Return the (n, 2) corners of a ragged unit circle or cone, with half as many corners."""
    rng = np.random.default_rng(variant)
    angle = np.linspace(0, 2 * np.pi, 144, endpoint=False)
    reach = 0.92 + 0.03 * rng.uniform(-1, 1, 144)
    for order in (2, 3, 5, 7, 11, 17, 26):
        wave = np.sin(order * angle + rng.uniform(0, 2 * np.pi))
        reach += 0.07 / order**0.7 * rng.uniform(0.3, 1.0) * wave
    x, y = np.cos(angle) * reach, np.sin(angle) * reach
    if conical:
        x *= 0.55 * (1.05 - y)
    return np.stack([x, y], axis=1)[:: 2**halvings]
