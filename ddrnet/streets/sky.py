"""The sky: a gradient, clouds and the glow around the sun; and haze before the ground."""

from __future__ import annotations

from functools import cache
from math import exp
from random import Random

import numpy as np
from PIL import Image

from ddrnet.data.streets.camera import Camera
from ddrnet.data.streets.light import Light
from ddrnet.data.streets.paints import scaled
from ddrnet.data.streets.textures import SIDE, tiled


def sky(camera: Camera, light: Light, rng: Random) -> Image.Image:
    """Return an RGB picture of the whole sky as the camera sees it."""
    size = (camera.width, camera.height)
    coarse = camera.resized(max(1, max(size) // 2))  # nothing in the sky is sharp
    picture = _gradient(coarse, light)
    if light.clouds > 0.05:
        cover = _cover(light, rng).resize(picture.size, Image.Resampling.BILINEAR)
        lit = scaled(light.horizon, 1.12 * (0.5 + 0.5 * light.ambient))
        picture.paste(lit, (0, 0), cover)
        # The same clouds, only where they are thick, darker.
        picture.paste(scaled(light.horizon, 0.82), (0, 0), cover.point(_THICK))
    if light.direct > 0.15:
        _glow(picture, coarse, light)
    return picture.resize(size, Image.Resampling.BILINEAR)


def haze(camera: Camera, light: Light) -> Image.Image:
    """Return the opacity of the haze before level ground, as grey."""
    below = np.arange(camera.height) - _horizon(camera)
    distance = camera.position[1] * camera.focal / np.maximum(below, 0.5)
    opacity = np.where(below > 0, 255 * (1 - np.exp(-distance / light.sight)), 0)
    return _stretched(opacity[:, None], camera)


_THICK = [max(0, value - 150) for value in range(256)]


def _horizon(camera: Camera) -> float:
    """Return the row of the horizon straight ahead."""
    ahead = camera.vanishing_point(np.array([0.0, 0.0, 1.0]))
    return ahead[1] if ahead else 0.0


def _gradient(camera: Camera, light: Light) -> Image.Image:
    height = np.maximum(_horizon(camera) - np.arange(camera.height), 0) / camera.focal
    low, high = np.array(light.horizon), np.array(light.zenith)
    column = low + (high - low) * (1 - np.exp(-3.5 * height))[:, None]
    return _stretched(column[:, None], camera)


def _stretched(column: np.ndarray, camera: Camera) -> Image.Image:
    size = (camera.width, camera.height)
    return Image.fromarray(column.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def _cover(light: Light, rng: Random) -> Image.Image:
    """Return the opacity of clouds in a window of random size."""
    left, top = rng.randrange(SIDE), rng.randrange(SIDE)
    right, bottom = left + rng.randint(120, SIDE), top + rng.randint(120, SIDE)
    threshold, veil = 230 - 190 * light.clouds, 128 if light.clouds > 0.85 else 0
    opacity = [min(max(int(2.6 * (value - threshold) + veil), 0), 255) for value in range(256)]
    return tiled("clouds", 2, 2).crop((left, top, right, bottom)).point(opacity)


def _glow(picture: Image.Image, camera: Camera, light: Light) -> None:
    place = camera.vanishing_point(np.array(light.sun))
    if place is None:
        return
    side = max(picture.size)
    mask = _ball().resize((side, side), Image.Resampling.BILINEAR)
    picture.paste(light.sunlight, (int(place[0] - side / 2), int(place[1] - side / 2)), mask)


@cache
def _ball() -> Image.Image:
    """Return a spot of light that fades out before its border."""
    y, x = np.mgrid[:64, :64] / 31.5 - 1
    light = 230 * np.exp(-9 * (x**2 + y**2)) - 230 * exp(-9)
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))
