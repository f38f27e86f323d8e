"""Weather and time of day: what colour a surface has in the sun, in the shade, in the haze."""

from __future__ import annotations

from math import cos, exp, pi, radians, sin
from random import Random
from typing import NamedTuple

import numpy as np

from ddrnet.data.streets.camera import Points
from ddrnet.data.streets.paints import Rgb, paints

Triple = tuple[float, float, float]


class Tone(NamedTuple):
    """How a surface turns paint into what the camera sees: `paint * gain + veil`."""

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
        """Return the 256 x 3 entries that colour a grey texture from `dark` to `bright`."""
        low = np.array(dark) * self.gain + self.veil
        high = np.array(bright) * self.gain + self.veil
        entries = np.minimum(low + (high - low) * _SHARES, 255)
        return entries.astype(np.uint8).tobytes()

    def matrix(self) -> tuple[float, ...]:
        """Return the matrix with which Pillow turns paint into seen colours."""
        (r, g, b), (veil_r, veil_g, veil_b) = self
        return (r, 0, 0, veil_r, 0, g, 0, veil_g, 0, 0, b, veil_b)


_SHARES = np.linspace(0, 1, 256)[:, None]


class Weather(NamedTuple):
    """One kind of daylight.

    Attributes:
        weight: How often it comes.
        elevation: Range of the sun's height in degrees.
        direct: Range of the sun's share of the light.
        clouds: Range of the share of the sky that is covered.
        sight: Range of the metres at which haze hides two thirds of a thing.
        colors: The sun's light, the light of the sky, the sky above, the sky at the horizon.
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
        direct: The sun's share of the light, as a fraction of white paint in full light.
        clouds: The share of the sky that is covered.
        sight: Metres at which haze hides two thirds of a thing.
        sunlight: Colour of the sun's light.
        skylight: Colour of the light from everywhere.
        zenith: Colour of the sky above.
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
        """The light that falls into shadows, as a fraction of white paint in full light."""
        return 0.92 - 0.62 * self.direct

    def direct_on(self, facing: float) -> float:
        """Return the sun's light on a surface whose normal has this cosine with its direction."""
        return 1.35 * self.direct * max(facing, 0.0)

    def tone(self, distance: float, facing: float = 0.4, *, sunlit: bool = True) -> Tone:
        """Return how paint looks from `distance` metres.

        Args:
            distance: From the camera, for the haze.
            facing: Cosine of the angle between the surface's normal and the sun.
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
        """Return where the sun throws the shadow of world points onto the ground."""
        x, y, z = self.sun
        fallen: Points = points - points[..., 1:2] * (x / y, 1.0, z / y)
        return fallen
