"""Plans, paints and photographs a whole street."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from ddrnet.streets.camera import Camera, Points
from ddrnet.streets.canvas import INSTANCE_FACTOR, LABELS, Canvas, Mesh, Region, Shape
from ddrnet.streets.ground import (
    BANDS,
    markings,
    paint_markings,
    paint_shadows,
    paint_strips,
    strips,
)
from ddrnet.streets.light import Light, haze, sky
from ddrnet.streets.materials import CARS
from ddrnet.streets.plan import Site
from ddrnet.streets.roadside import line_street
from ddrnet.streets.things import box_corners, painting_order, unhidden
from ddrnet.streets.traffic import fill_traffic

SIDE = 512
"""Side of the noise tile in pixels."""


def photograph(picture: Image.Image, rng: Random) -> Image.Image:
    """Return a picture as taken by a random camera."""
    picture = _blurred(picture, rng)
    picture = ImageChops.multiply(picture, _vignette(picture.size, rng.uniform(0.0, 0.35)))
    return _noisy(picture.point(_exposure(picture, rng)), rng)


def _blurred(picture: Image.Image, rng: Random) -> Image.Image:
    picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.5)))
    if rng.random() < 0.08:
        radius = 0.3 + rng.uniform(0.3, 0.9) * picture.width / 1024
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    return picture


def _vignette(size: tuple[int, int], strength: float) -> Image.Image:
    y, x = np.mgrid[:32, :32] / 15.5 - 1
    light = 255 * (1 - strength * (x**2 + y**2) / 2)
    grey = Image.fromarray(light.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.merge("RGB", (grey, grey, grey))


def _exposure(picture: Image.Image, rng: Random) -> list[int]:
    """Return a table of 256 entries per channel; dark pictures get a longer exposure."""
    mean = float(np.asarray(picture.resize((16, 16), Image.Resampling.BOX)).mean())
    gain = min(max((100 / max(mean, 1.0)) ** 0.6, 0.9), 1.6) * rng.uniform(0.88, 1.12)
    gamma, floor = rng.uniform(0.85, 1.15), rng.uniform(0, 16)
    casts = [gain * rng.gauss(1.0, 0.03) for _ in range(3)]
    curve = [(value / 255) ** gamma for value in range(256)]
    return [int(floor + (255 - floor) * min(cast * v, 1.0)) for cast in casts for v in curve]


@cache
def _noise(level: int) -> Image.Image:
    """Return noise of mean 128 and standard deviation `level / 2`."""
    values = np.random.default_rng(level).normal(128, level / 2, (SIDE, SIDE, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _noisy(picture: Image.Image, rng: Random) -> Image.Image:
    noise, layer = _noise(rng.randint(2, 11)), Image.new("RGB", picture.size)
    left, top = rng.randrange(SIDE), rng.randrange(SIDE)
    for y in range(-top, picture.height, SIDE):
        for x in range(-left, picture.width, SIDE):
            layer.paste(noise, (x, y))
    return ImageChops.add(picture, layer, scale=1, offset=-128)


class Scene(NamedTuple):
    """A rendered street.

    Attributes:
        image: RGB.
        instances: 32-bit instance values: `id * 1000 + number` for things, else ids.
        regions: The polygons of the labels, in painting order.
    """

    image: Image.Image
    instances: Image.Image
    regions: list[Region]

    def ids(self) -> NDArray[np.uint8]:
        """Return the (H, W) label ids."""
        return _IDS.take(np.asarray(self.instances))


_VALUES = np.arange(len(LABELS) * INSTANCE_FACTOR)
_IDS = np.where(_VALUES < INSTANCE_FACTOR, _VALUES, _VALUES // INSTANCE_FACTOR).astype(np.uint8)
"""The label id of each instance value."""


SMALLEST = 32
"""Smallest height and width in pixels that shows a street."""


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return a height and a width after a check.

    Raises:
        ValueError: If they are not two integers of at least `SMALLEST`.
    """
    height, width = size
    if type(height) is not int or type(width) is not int or min(size) < SMALLEST:
        raise ValueError(f"size must be height and width, integers from {SMALLEST} up, got {size}")
    return height, width


def render_street(size: tuple[int, int], seed: int, index: int) -> Scene:
    """Render a street; `seed` and `index` choose the street, whatever the size.

    Args:
        size: Height and width in pixels.
        seed: Any integer.
        index: Any integer.
    """
    drawing, looking = (Random(f"{seed}/{index}/{stream}") for stream in ("street", "camera"))
    light = Light.draw(drawing)
    site = Site(drawing, light)
    fill_traffic(site)
    line_street(site)
    canvas = Canvas(_camera(size, site, looking), light)
    canvas.background("sky", sky(canvas.camera, light, looking))
    boxes = _boxes(site)
    _paint_ground(canvas, site, boxes)
    _paint_things(canvas, site, boxes)
    if looking.random() < 0.3:
        _paint_bonnet(canvas, looking)
    return Scene(photograph(canvas.image, looking), canvas.instances, canvas.regions)


def _camera(size: tuple[int, int], site: Site, rng: Random) -> Camera:
    return Camera(
        size,
        focal=rng.uniform(1.0, 1.5),
        position=(site.camera, rng.uniform(1.15, 1.9), 0.0),
        yaw=rng.gauss(0, 0.05),
        pitch=rng.gauss(0.02, 0.025),
        roll=rng.gauss(0, 0.008),
    )


def _paint_ground(canvas: Canvas, site: Site, boxes: Points) -> None:
    paint_strips(canvas, site.course, strips(site))
    paint_markings(canvas, site.course, markings(site))
    paint_shadows(canvas, _shadow_casters(canvas, site, boxes), _feet(site))
    canvas.veil(canvas.light.horizon, haze(canvas.camera, canvas.light))


def _paint_things(canvas: Canvas, site: Site, boxes: Points) -> None:
    in_sight = np.flatnonzero(canvas.camera.in_sight(boxes))
    footprints = [site.things[index].footprint for index in in_sight]
    order = in_sight[painting_order(footprints, site.camera)]
    for thing in unhidden([site.things[index] for index in order], boxes[order], canvas.camera):
        thing.paint(canvas)


def _paint_bonnet(canvas: Canvas, rng: Random) -> None:
    """Paint the bonnet of the car with the camera."""
    x, y, _ = canvas.camera.position
    paint, low = canvas.light.tone(0.0, 0.5).color(rng.choice(CARS)), y - rng.uniform(0.42, 0.6)
    edge = [(0.9, 0.9), (0.85, 1.5), (0.6, 1.85), (0.25, 2.0)]
    half = [(x + right, low - 0.06 * right, forward) for right, forward in edge]
    left = [(2 * x - right, up, forward) for right, up, forward in reversed(half)]
    canvas.paint("ego vehicle", Mesh(np.array([*half, *left]), (8,), (paint,)))


def _boxes(site: Site) -> Points:
    """Return the (n, 8, 3) world corners of boxes around the things."""
    footprints = np.array([thing.footprint for thing in site.things])
    spreads = np.array([thing.spread for thing in site.things])
    heights = [thing.height for thing in site.things]
    return site.course.world(box_corners(footprints + spreads[:, None] * (-1, 1, -1, 1), heights))


def _shadow_casters(canvas: Canvas, site: Site, boxes: Points) -> list[Shape]:
    """Return the shapes of near things with possibly visible shadows."""
    close = boxes[:, :, 2].min(axis=1) < BANDS[-1].far
    in_sight = canvas.camera.in_sight(canvas.light.shadow(boxes))
    casters = [site.things[index] for index in np.flatnonzero(close & in_sight)]
    return [thing.shape for thing in casters if thing.shape is not None]


def _feet(site: Site) -> Points:
    """Return the (n, 4, 3) corners of the ground under near things."""
    close = [thing.footprint for thing in site.things if 0 < thing.footprint.far < BANDS[-1].far]
    return site.course.world(box_corners(close, [0.0] * len(close))[:, :4])
