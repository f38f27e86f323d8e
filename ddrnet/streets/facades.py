"""Facades as textures: grids of bays in a few drawn variants."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ddrnet.streets.materials import (
    BLACK,
    GLASSES,
    SIDE,
    SIGNS,
    WALLS,
    WINDOW_FRAMES,
    Material,
    Rgb,
    mixed,
    scaled,
    tiled,
)

WINDOWS = 3
"""Variants of a bay above the ground floor."""

SHOPS = 2
"""Variants of a bay on the ground floor."""

LAMPLIGHT: Rgb = (250, 214, 140)
CURTAIN: Rgb = (222, 218, 206)
PLASTER: Rgb = (226, 222, 212)

Fill: TypeAlias = Callable[[float, float, float, float, Rgb], None]
"""Fills a box with a paint; left, top, right and bottom are fractions of a bay."""


class Facade(NamedTuple):
    """The appearance of a facade.

    Attributes:
        wall: Paint of the wall.
        material: Material of the wall.
        frame: Paint of window frames.
        glass: Paint of the panes.
        window: Left, top, right and bottom edge of the window as fractions of its bay.
        panes: Columns and rows of a window.
        ground: Use of the ground floor.
        shutters: Paint of the shutters beside the windows, if any.
        balcony: Share of bays with a balcony.
        trim: Paint of sills, plinth and cornice.
        sign: Paint of shop signs and doors.
        lamps: Whether some windows are lit.
    """

    wall: Rgb
    material: Material
    frame: Rgb
    glass: Rgb
    window: tuple[float, float, float, float]
    panes: tuple[int, int]
    ground: Literal["shop", "plain", "arcade", "garage"]
    shutters: Rgb | None
    balcony: float
    trim: Rgb
    sign: Rgb
    lamps: bool

    @classmethod
    def draw(cls, rng: Random, *, office: bool, lamps: bool) -> Facade:
        """Return a random facade; offices are mostly glass."""
        width, top = (rng.uniform(0.8, 0.96), 0.08) if office else (rng.uniform(0.34, 0.6), 0.16)
        height = rng.uniform(0.55, 0.86) if office else rng.uniform(0.42, 0.66)
        wall = rng.choice(WALLS)
        return cls(
            wall,
            rng.choice(("plaster", "plaster", "brick", "concrete", "slabs")),
            rng.choice(WINDOW_FRAMES),
            rng.choice(GLASSES),
            (0.5 - width / 2, top, 0.5 + width / 2, top + height),
            rng.choice(((1, 1), (2, 1), (2, 2), (1, 2), (3, 2))),
            rng.choice(("shop", "shop", "plain", "arcade", "garage")),
            rng.choice(SIGNS) if not office and rng.random() < 0.2 else None,
            rng.choice((0.0, 0.0, 0.3, 0.8)),
            mixed(wall, PLASTER, rng.uniform(0.3, 0.9)),
            rng.choice(SIGNS),
            lamps,
        )


def facade_texture(
    facade: Facade, columns: int, floors: int, texels: int, rng: Random
) -> Image.Image:
    """Return the RGB texture of a facade.

    Args:
        facade: Its appearance.
        columns: Number of bays side by side.
        floors: Number of storeys with the ground floor.
        texels: Side of a bay, a power of two up to 64.
        rng: Chooses the variants.
    """
    atlas = _Atlas(facade, texels, rng.randrange(2))
    for index in range(WINDOWS):
        _window_bay(atlas.bay(index), facade, rng)
    for index in range(WINDOWS, WINDOWS + SHOPS):
        _ground_bay(atlas.bay(index), facade, rng)
    chosen = [rng.randrange(WINDOWS) for _ in range((floors - 1) * columns)]
    chosen += [WINDOWS + rng.randrange(SHOPS) for _ in range(columns)]
    bays = atlas.bays()[chosen].reshape(floors, columns, texels, texels, 3)
    image = Image.fromarray(bays.swapaxes(1, 2).reshape(floors * texels, columns * texels, 3))
    drawer = ImageDraw.Draw(image)
    cornice, shadow = texels // 7, texels // 6
    drawer.rectangle((0, 0, image.width, cornice), fill=scaled(facade.trim, 0.95))
    drawer.rectangle((0, cornice, image.width, shadow), fill=scaled(facade.wall, 0.6))
    return image


class _Atlas:
    """All variants of the bays of a facade, side by side on the texture of its wall."""

    def __init__(self, facade: Facade, texels: int, row: int) -> None:
        self._texels = texels
        # A bay takes a quarter of the wall's texture, so courses of bricks continue across bays.
        wall = tiled(facade.material, 3, 1, (SIDE // 2 // texels).bit_length() - 1)
        wall = wall.crop((0, row * texels, (WINDOWS + SHOPS) * texels, (row + 1) * texels))
        shares = np.linspace(0.35, 1.4, 256)[:, None]  # the mean grey of a wall is about 155
        wall.putpalette((shares * facade.wall).clip(0, 255).astype(np.uint8).tobytes())
        self._image = wall.convert("RGB")
        self._rectangle = ImageDraw.Draw(self._image).rectangle

    def bay(self, index: int) -> Fill:
        """Return a function that fills boxes in one bay; it skips boxes below a texel in size."""
        side, start = self._texels, index * self._texels

        def fill(left: float, top: float, right: float, bottom: float, paint: Rgb) -> None:
            x, y = max(round(left * side), 0), round(top * side)
            x_end, y_end = min(round(right * side), side), round(bottom * side)
            if x_end > x and y_end > y:
                self._rectangle((start + x, y, start + x_end - 1, y_end - 1), fill=paint)

        return fill

    def bays(self) -> NDArray[np.uint8]:
        """Return (variants, texels, texels, 3) pixels."""
        side = self._texels
        bays: NDArray[np.uint8] = np.asarray(self._image).reshape(side, -1, side, 3).swapaxes(0, 1)
        return bays


def _window_bay(fill: Fill, facade: Facade, rng: Random) -> None:
    left, top, right, bottom = facade.window
    if facade.shutters is not None:
        width = 0.45 * (right - left)
        fill(left - width, top, left, bottom, facade.shutters)
        fill(right, top, right + width, bottom, facade.shutters)
    _window(fill, facade, rng)
    fill(left - 0.05, bottom, right + 0.05, bottom + 0.04, facade.trim)
    if rng.random() < facade.balcony:
        left, right = left - 0.14, right + 0.14
        fill(left, bottom - 0.3, right, bottom + 0.02, scaled(facade.trim, 0.75))
        fill(left, bottom + 0.02, right, bottom + 0.09, scaled(facade.wall, 0.55))


def _window(fill: Fill, facade: Facade, rng: Random) -> None:
    left, top, right, bottom = facade.window
    fill(left - 0.03, top - 0.03, right + 0.03, bottom + 0.03, facade.frame)
    lit = facade.lamps and rng.random() < 0.4
    glass = LAMPLIGHT if lit else scaled(facade.glass, rng.uniform(0.6, 1.3))
    fill(left, top, right, bottom, glass)
    fill(left, top, right, (top + bottom) / 2, scaled(glass, 1.15))
    if rng.random() < 0.5:
        fill(left, top, right, top + rng.uniform(0.1, 0.6) * (bottom - top), CURTAIN)
    columns, rows = facade.panes
    for column in range(1, columns):
        middle = left + (right - left) * column / columns
        fill(middle - 0.015, top, middle + 0.015, bottom, facade.frame)
    for row in range(1, rows):
        middle = top + (bottom - top) * row / rows
        fill(left, middle - 0.015, right, middle + 0.015, facade.frame)


def _ground_bay(fill: Fill, facade: Facade, rng: Random) -> None:
    fill(0, 0.9, 1, 1, scaled(facade.trim, 0.7))
    if facade.ground == "shop":
        _shop(fill, facade, rng)
    elif facade.ground == "arcade":
        fill(0.12, 0.2, 0.88, 1, scaled(BLACK, 1.3))
        fill(0.3, 0.45, 0.8, 0.95, scaled(facade.glass, 0.8))
    elif facade.ground == "garage" and rng.random() < 0.6:
        fill(0.1, 0.25, 0.9, 1, scaled(facade.trim, 0.9))
        for line in (0.4, 0.55, 0.7, 0.85):
            fill(0.1, line, 0.9, line + 0.03, scaled(facade.trim, 0.6))
    elif rng.random() < 0.3:
        fill(0.3, 0.22, 0.7, 1, facade.frame)
        fill(0.36, 0.28, 0.64, 1, scaled(facade.sign, 0.6))
    else:
        _window(fill, facade, rng)


def _shop(fill: Fill, facade: Facade, rng: Random) -> None:
    fill(0.06, 0.3, 0.94, 0.92, scaled(facade.frame, 0.5))
    lit = scaled(LAMPLIGHT, 0.84) if rng.random() < 0.4 else scaled(facade.glass, 0.8)
    fill(0.1, 0.34, 0.9, 0.88, lit)
    for _ in range(4):
        left, goods = rng.uniform(0.12, 0.75), scaled(rng.choice(SIGNS), rng.uniform(0.6, 1.3))
        fill(left, rng.uniform(0.5, 0.7), left + 0.12, 0.88, goods)
    fill(0, 0.08, 1, 0.28, facade.sign)
    letters = PLASTER if sum(facade.sign) < 380 else BLACK
    for index in range(6):
        left = 0.12 + 0.11 * index
        fill(left, 0.13, left + rng.uniform(0, 0.08), 0.23, letters)
