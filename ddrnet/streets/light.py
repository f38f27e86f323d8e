"""Weather, time of day and sky: the colours of surfaces in the sun, in the shade and in haze."""

from __future__ import annotations

from functools import cache
from math import cos, exp, pi, radians, sin
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image

from ddrnet.streets.camera import Camera, Points
from ddrnet.streets.materials import SIDE, Rgb, paints, scaled, tiled

Triple = tuple[float, float, float]


class Tone(NamedTuple):
    """The light on a surface: the seen colour is `paint * gain + veil`."""

    gain: Triple
    veil: Triple

    def color(self, paint: Rgb) -> Rgb:
        """Return the seen colour of one paint."""
        (r, g, b), (gain_r, gain_g, gain_b), (veil_r, veil_g, veil_b) = paint, *self
        return (
            min(255, int(r * gain_r + veil_r)),
            min(255, int(g * gain_g + veil_g)),
            min(255, int(b * gain_b + veil_b)),
        )

    def palette(self, dark: Rgb, bright: Rgb) -> bytes:
        """Return the 256 x 3 palette of a grey texture, from `dark` to `bright`."""
        low = np.array(dark) * self.gain + self.veil
        high = np.array(bright) * self.gain + self.veil
        entries = np.minimum(low + (high - low) * _SHARES, 255)
        return entries.astype(np.uint8).tobytes()

    def matrix(self) -> tuple[float, ...]:
        """Return Pillow's matrix from paint to seen colours."""
        (r, g, b), (veil_r, veil_g, veil_b) = self
        return (r, 0, 0, veil_r, 0, g, 0, veil_g, 0, 0, b, veil_b)


_SHARES = np.linspace(0, 1, 256)[:, None]


class Weather(NamedTuple):
    """One kind of daylight.

    Attributes:
        weight: Its relative frequency.
        elevation: Range of the elevation of the sun in degrees.
        direct: Range of the share of sunlight in the light.
        clouds: Range of the covered share of the sky.
        sight: Range of the distance in metres where haze hides two thirds of a thing.
        colors: Colours of the sunlight, the skylight, the zenith and the horizon.
        lamps: Whether windows are lit.
    """

    weight: int
    elevation: tuple[float, float]
    direct: tuple[float, float]
    clouds: tuple[float, float]
    sight: tuple[float, float]
    colors: str
    lamps: bool = False


WEATHERS = (
    Weather(20, (30, 62), (0.5, 0.68), (0.0, 0.35), (500, 1500), "fff8e8 d6e0f0 3a70be b0cce4"),
    Weather(20, (30, 55), (0.4, 0.6), (0.35, 0.7), (350, 1000), "fff6e6 dce2ec 5486c4 c6d6e2"),
    Weather(20, (25, 60), (0.0, 0.12), (0.7, 1.0), (150, 500), "fffaf5 eef0f4 b0b8c2 d6dade"),
    Weather(8, (25, 60), (0.0, 0.05), (0.9, 1.0), (70, 170), "fafafa e2e6ec ccd0d2 dee0e2"),
    Weather(14, (7, 18), (0.5, 0.7), (0.1, 0.6), (200, 700), "ffd8a0 c4cce2 5c80b8 f4d6b0"),
    Weather(9, (6, 14), (0.3, 0.5), (0.3, 0.8), (200, 600), "ffbe8c aab2d0 46588e ecb296", True),
    Weather(9, (5, 15), (0.0, 0.05), (0.5, 1.0), (150, 500), "ffe6d2 808aaa 3e4c70 969cac", True),
)
"""Clear noon, broken clouds, overcast, mist, low sun, sunset, dusk."""


class Light(NamedTuple):
    """The daylight of one scene.

    Attributes:
        sun: Unit vector towards the sun: right, up, forward.
        direct: Brightness of the sunlight, as a fraction of white paint in full light.
        clouds: The covered share of the sky.
        sight: Distance in metres where haze hides two thirds of a thing.
        sunlight: Colour of the light from the sun.
        skylight: Colour of the light from the sky.
        zenith: Colour of the sky at the zenith.
        horizon: Colour of the sky at the horizon, and of haze.
        lamps: Whether windows are lit.
    """

    sun: tuple[float, float, float]
    direct: float
    clouds: float
    sight: float
    sunlight: Rgb
    skylight: Rgb
    zenith: Rgb
    horizon: Rgb
    lamps: bool

    @classmethod
    def draw(cls, rng: Random) -> Light:
        """Return a random daylight."""
        [weather] = rng.choices(WEATHERS, [weather.weight for weather in WEATHERS])
        elevation, azimuth = radians(rng.uniform(*weather.elevation)), rng.uniform(-pi, pi)
        level = cos(elevation)
        sunlight, skylight, zenith, horizon = paints(weather.colors)
        return cls(
            (level * sin(azimuth), sin(elevation), level * cos(azimuth)),
            rng.uniform(*weather.direct),
            rng.uniform(*weather.clouds),
            rng.uniform(*weather.sight),
            sunlight,
            skylight,
            zenith,
            horizon,
            weather.lamps,
        )

    @property
    def ambient(self) -> float:
        """The brightness of shadows, as a fraction of white paint in full light."""
        return 0.92 - 0.62 * self.direct

    def direct_on(self, facing: float) -> float:
        """Return the sunlight on a surface from the cosine between its normal and the sun."""
        return 1.35 * self.direct * max(facing, 0.0)

    def tone(self, distance: float, facing: float = 0.4, *, sunlit: bool = True) -> Tone:
        """Return the light on a surface at `distance` metres.

        Args:
            distance: Metres from the camera, for the haze.
            facing: Cosine of the angle between the normal of the surface and the sun.
            sunlit: Whether the sun reaches the surface.
        """
        clear = exp(-distance / self.sight)
        direct = self.direct_on(facing) if sunlit else 0.0
        ambient = self.ambient
        (sky_r, sky_g, sky_b), (sun_r, sun_g, sun_b) = self.skylight, self.sunlight
        haze_r, haze_g, haze_b = self.horizon
        share = clear / 255
        gain = (
            (ambient * sky_r + direct * sun_r) * share,
            (ambient * sky_g + direct * sun_g) * share,
            (ambient * sky_b + direct * sun_b) * share,
        )
        return Tone(gain, (haze_r * (1 - clear), haze_g * (1 - clear), haze_b * (1 - clear)))

    def facing(self, right: float, up: float, forward: float) -> float:
        """Return the cosine of the angle between a unit normal and the sun."""
        return right * self.sun[0] + up * self.sun[1] + forward * self.sun[2]

    def shadow(self, points: Points) -> Points:
        """Return the shadows of world points on the ground."""
        x, y, z = self.sun
        fallen: Points = points - points[..., 1:2] * (x / y, 1.0, z / y)
        return fallen


def sky(camera: Camera, light: Light, rng: Random) -> Image.Image:
    """Return an RGB picture of the sky as seen by the camera."""
    size = (camera.width, camera.height)
    coarse = camera.resized(max(1, max(size) // 2))  # the sky has no sharp details
    picture = _gradient(coarse, light)
    if light.clouds > 0.05:
        cover = _cover(light, rng).resize(picture.size, Image.Resampling.BILINEAR)
        lit = scaled(light.horizon, 1.12 * (0.5 + 0.5 * light.ambient))
        picture.paste(lit, (0, 0), cover)
        # The thick parts of the same clouds are darker.
        picture.paste(scaled(light.horizon, 0.82), (0, 0), cover.point(_THICK))
    if light.direct > 0.15:
        _glow(picture, coarse, light)
    return picture.resize(size, Image.Resampling.BILINEAR)


def haze(camera: Camera, light: Light) -> Image.Image:
    """Return the opacity of the haze over level ground, as grey."""
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
    """Return a spot of light that fades to 0 before its border."""
    y, x = np.mgrid[:64, :64] / 31.5 - 1
    light = 230 * np.exp(-9 * (x**2 + y**2)) - 230 * exp(-9)
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))
