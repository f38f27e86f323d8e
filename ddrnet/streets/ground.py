"""The ground: textured strips along the street, road markings and shadows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from ddrnet.streets.camera import NEAR, Points
from ddrnet.streets.canvas import Canvas, Mesh, Plane, Shape
from ddrnet.streets.figures import arc
from ddrnet.streets.materials import BLACK, GREY, SIDE, Material, Rgb, paints, tiled
from ddrnet.streets.plan import SIDES, Site
from ddrnet.streets.things import Course

PERIOD = 6.4
"""Period of a ground texture in metres."""

MEAN = 150
"""Mean grey of the textures, about; distant ground has this one grey."""

FAR = 500.0
"""Metres to each side and ahead where the ground ends."""


Ground = Literal["road", "sidewalk", "terrain", "parking"]


class Band(NamedTuple):
    """A stretch of ground with one resolution of the textures.

    Attributes:
        near: Metres ahead where it starts.
        far: Metres ahead where it ends.
        level: Number of halvings of the texture.
        reach: Visible metres to each side.
    """

    near: float
    far: float
    level: int
    reach: float


BANDS = (Band(NEAR, 16, 0, 26), Band(16, 58, 2, 80))


class Surface(NamedTuple):
    """The surface of a piece of ground.

    Attributes:
        material: Its texture; None if the piece is too narrow to show one.
        paints: Paints of the darkest and of the brightest texel.
    """

    material: Material | None
    paints: tuple[Rgb, ...]


class Strip(NamedTuple):
    """A piece of ground between two lines along the street.

    Attributes:
        label: Class of its pixels.
        left: Left end in metres right of the middle.
        right: Right end in metres right of the middle.
        surface: Its surface.
        near: Near end in metres ahead.
        far: Far end in metres ahead.
    """

    label: Ground
    left: float
    right: float
    surface: Surface
    near: float = NEAR
    far: float = FAR


class Marking(NamedTuple):
    """A flat patch on the ground without a label of its own: paint, a repair, a rail.

    Attributes:
        shape: (n, 3) street coordinates.
        paint: Its colour in white light.
        opacity: 0-255; the road shows through worn paint.
    """

    shape: Sequence[tuple[float, float, float]]
    paint: Rgb
    opacity: int


def paint_strips(canvas: Canvas, course: Course, strips: Iterable[Strip]) -> None:
    """Paint strips over each other, textured near the camera and flat far away."""
    tone = canvas.light.tone(0.0, canvas.light.sun[1])
    for strip in strips:
        material, palette = strip.surface.material, tone.palette(*strip.surface.paints)
        for band in BANDS if material else ():
            shape = _edges(course, strip, band.near, band.far, band.reach)
            if shape is not None:
                plane, (columns, rows) = _lay(band)
                texture = tiled(material, columns, rows, band.level)
                canvas.textured(strip.label, shape, texture, plane, palette)
        shape = _edges(course, strip, BANDS[-1].far if material else NEAR, FAR, FAR)
        if shape is not None:
            r, g, b = palette[3 * MEAN : 3 * MEAN + 3]
            canvas.paint(strip.label, Mesh(shape, [len(shape)], [(r, g, b)]))


def paint_markings(canvas: Canvas, course: Course, markings: Iterable[Marking]) -> None:
    """Paint markings onto the ground."""
    tone = canvas.light.tone(0.0, canvas.light.sun[1])
    listed = list(markings)
    corners = course.world([corner for marking in listed for corner in marking.shape])
    paints = [(*tone.color(marking.paint), marking.opacity) for marking in listed]
    canvas.decals(Mesh(corners, [len(marking.shape) for marking in listed], paints))


def paint_shadows(canvas: Canvas, shapes: Sequence[Shape], feet: Points) -> None:
    """Darken the ground in shadows and directly under things.

    Args:
        canvas: A canvas with painted ground.
        shapes: The shapes that throw shadows.
        feet: (n, 4, 3) corners of the ground under things.
    """
    light = canvas.light
    if light.direct > 0.15 and shapes:
        corners = light.shadow(np.concatenate([shape.corners for shape in shapes]))
        counts = [count for shape in shapes for count in shape.counts]
        direct = light.direct_on(light.sun[1])
        canvas.shade(Shape(corners, counts), direct / (light.ambient + direct))
    canvas.dim(Shape(feet.reshape(-1, 3), [4] * len(feet)), 0.55)


def _lay(band: Band) -> tuple[Plane, tuple[int, int]]:
    """Return the plane of the texture of a band, and its repeats across and along."""
    step = PERIOD / SIDE * 2**band.level
    columns, rows = int(2 * band.reach / PERIOD) + 1, int((band.far - band.near) / PERIOD) + 1
    corner = np.array([-band.reach, 0.0, band.far])
    return Plane(corner, np.array([step, 0, 0]), np.array([0, 0, -step])), (columns, rows)


def _edges(course: Course, strip: Strip, near: float, far: float, reach: float) -> Points | None:
    """Return the outline of a strip between two distances; None if it is empty."""
    near, far = max(near, strip.near), min(far, strip.far)
    left, right = max(strip.left, -reach), min(strip.right, reach)
    if near >= far or left >= right:
        return None
    steps = 1 if course.bend == 0 else 6
    forward = [near + (far - near) * step / steps for step in range(steps + 1)]
    there, back = [(left, 0, z) for z in forward], [(right, 0, z) for z in reversed(forward)]
    return course.world([*there, *back])


ROADS = {
    Surface("asphalt", paints("363638 808082")): 50,
    Surface("asphalt", paints("28282c 68686c")): 32,
    Surface("asphalt", paints("504e4a a09c96")): 18,
}
"""Road surfaces and their weights."""

WALKS = (
    Surface("slabs", paints("464440 c4c0b8")),
    Surface("slabs", paints("50463e ccb8a4")),
    Surface("slabs", paints("563c34 d2a490")),
    Surface("brick", paints("462c24 be826c")),
)
GREENS = (
    Surface("grass", paints("18280a 8aa448")),
    Surface("grass", paints("283010 acb060")),
    Surface("grass", paints("16240e 6c8c42")),
    Surface("soil", paints("3c2c1c a88c6c")),
    Surface("grass", paints("423a1a c0ac68")),
)
KERB = Surface(None, paints("6e6c68 d6d4ce"))
[LINES] = paints("e2e2de")


def strips(site: Site) -> Iterator[Strip]:
    """Yield the ground of a street; each strip covers the earlier ones."""
    rng, section = site.rng, site.section
    walk, green = rng.choice(WALKS), rng.choice(GREENS)
    [road] = rng.choices(list(ROADS), list(ROADS.values()))
    for sign in SIDES:
        yield from _side_strips(site, sign, walk, green)
    yield Strip("road", -section.kerb(-1), section.kerb(1), road)
    for sign in SIDES:
        if section.side(sign).parking and site.happens(0.25):
            left, right = sorted((sign * section.driving, sign * section.kerb(sign)))
            yield Strip("parking", left, right, rng.choice(WALKS))
    if section.tracks and site.happens(0.3):
        yield Strip("terrain", -section.tracks, section.tracks, green)
    if site.crossing is not None:
        near, far = site.crossing
        yield Strip("sidewalk", -FAR, -section.kerb(-1), walk, near - 2.2, far + 2.2)
        yield Strip("sidewalk", section.kerb(1), FAR, walk, near - 2.2, far + 2.2)
        yield Strip("road", -FAR, FAR, road, near, far)


def markings(site: Site) -> Iterator[Marking]:
    """Yield repairs, rails, lines and crosswalks."""
    worn = site.rng.randint(90, 245)
    yield from _repairs(site)
    if site.section.tracks:
        yield from _rails(site.section.tracks / 2)
    elif site.happens(0.8):
        yield from _line(site, 0.0, site.rng.choice((3, 7, 7)), worn)
    for sign in SIDES:
        yield from _lane_lines(site, sign, worn)
    if site.crossing is not None:
        yield from _crosswalk(site, site.crossing[0] - 4.0, worn)
        yield from _crosswalk(site, site.crossing[1] + 0.6, worn)
    elif site.happens(0.25):
        yield from _crosswalk(site, site.rng.uniform(8, 40), worn)


def _rails(middle: float) -> Iterator[Marking]:
    """Yield two pairs of rails; their middles lie `middle` metres from the middle of the street."""
    for rail in (-middle - 0.72, -middle + 0.72, middle - 0.72, middle + 0.72):
        for near, far in pairwise(range(1, 142, 10)):
            yield _stripe(rail, 0.1, near, far, 230)._replace(paint=GREY)


def _lane_lines(site: Site, sign: int, opacity: int) -> Iterator[Marking]:
    section = site.section
    for lane in range(1, section.lanes):
        yield from _line(site, section.middle(sign, lane) - sign * section.lane / 2, 7, opacity)
    if section.side(sign).parking or site.happens(0.3):
        yield from _line(site, sign * (section.driving - 0.1), 3, opacity)


def _side_strips(site: Site, sign: int, walk: Surface, green: Surface) -> Iterator[Strip]:
    section, side = site.section, site.section.side(sign)
    kerb, forecourt = section.kerb(sign), 30.0 if side.paved else 0.0
    lawn = section.border(sign) + forecourt
    edges = (lawn, FAR), (section.walk(sign), lawn), (kerb, section.walk(sign)), (kerb, kerb + 0.18)
    surfaces: tuple[tuple[Ground, Surface], ...] = (
        ("terrain", green), ("sidewalk", walk), ("terrain", green), ("sidewalk", KERB)
    )  # fmt: skip
    for (inner, outer), (label, surface) in zip(edges, surfaces, strict=True):
        left, right = sorted((sign * inner, sign * outer))
        yield Strip(label, left, right, surface)


def _stripe(at: float, width: float, near: float, far: float, opacity: int) -> Marking:
    left, right = at - width / 2, at + width / 2
    corners = ((left, 0.0, near), (right, 0.0, near), (right, 0.0, far), (left, 0.0, far))
    return Marking(corners, LINES, opacity)


def _line(site: Site, at: float, pace: int, opacity: int) -> Iterator[Marking]:
    """Yield dashes of 3 m, one per `pace` metres."""
    start = site.rng.uniform(0, 6)
    for step in range(110 // pace):
        near = max(start + pace * step, 1.0)
        if not site.on_crossing(near, near + 3, 3.0):
            yield _stripe(at, 0.14, near, near + 3.0, opacity)


def _crosswalk(site: Site, near: float, opacity: int) -> Iterator[Marking]:
    at, stop = 0.5 - site.section.kerb(-1), site.section.kerb(1) - 0.3
    while at < stop:
        yield _stripe(at, 0.5, near, near + 3.2, opacity)
        at += 1.0


def _repairs(site: Site) -> Iterator[Marking]:
    """Yield darker and lighter patches, manholes and cracks."""
    rng, half = site.rng, site.section.driving
    for _ in range(rng.randint(2, 8)):
        width = rng.uniform(0.3, 2.2)
        at, near = rng.uniform(width - half, half - width), rng.uniform(2, 40)
        patch = _stripe(at, width, near, near + rng.uniform(0.5, 8), rng.randint(30, 110))
        shade = rng.choice((30, 44, 60, 150))
        yield patch._replace(paint=(shade, shade, shade))
    for _ in range(rng.randrange(4)):
        at, near = rng.uniform(-half, half), rng.uniform(4, 25)
        lid = [(at + 0.32 * c, 0.0, near + 0.32 * s) for c, s in arc(0, 330)]
        yield Marking(lid, GREY, 200)
    for _ in range(rng.randrange(6)):
        at, near = rng.uniform(0.5 - half, half - 0.5), rng.uniform(3, 20)
        for _ in range(5):
            end, far = at + rng.gauss(0, 0.15), near + rng.uniform(0.3, 1.2)
            crack = ((at, 0, near), (at + 0.04, 0, near), (end + 0.04, 0, far), (end, 0, far))
            yield Marking(crack, BLACK, 120)
            at, near = end, far
