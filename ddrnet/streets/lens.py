"""What a camera does to the light: blur, vignetting, exposure, colour cast and noise."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageFilter

SIDE = 512
"""Pixels of the noise tile in each direction."""


def photograph(picture: Image.Image, rng: Random) -> Image.Image:
    """Return a picture as a random camera takes it."""
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
    """Return a table of 256 entries per channel; a dark picture is exposed for longer."""
    mean = float(np.asarray(picture.resize((16, 16), Image.Resampling.BOX)).mean())
    gain = min(max((100 / max(mean, 1.0)) ** 0.6, 0.9), 1.6) * rng.uniform(0.88, 1.12)
    gamma, floor = rng.uniform(0.85, 1.15), rng.uniform(0, 16)
    casts = [gain * rng.gauss(1.0, 0.03) for _ in range(3)]
    curve = [(value / 255) ** gamma for value in range(256)]
    return [int(floor + (255 - floor) * min(cast * v, 1.0)) for cast in casts for v in curve]


@cache
def _noise(level: int) -> Image.Image:
    """Return noise around 128 whose deviation is half of `level`."""
    values = np.random.default_rng(level).normal(128, level / 2, (SIDE, SIDE, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _noisy(picture: Image.Image, rng: Random) -> Image.Image:
    noise, layer = _noise(rng.randint(2, 11)), Image.new("RGB", picture.size)
    left, top = rng.randrange(SIDE), rng.randrange(SIDE)
    for y in range(-top, picture.height, SIDE):
        for x in range(-left, picture.width, SIDE):
            layer.paste(noise, (x, y))
    return ImageChops.add(picture, layer, scale=1, offset=-128)
