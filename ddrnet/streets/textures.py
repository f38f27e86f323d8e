"""Grey, seamless textures of materials, made once per process from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from math import log2
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Material = Literal[
    "asphalt", "brick", "clouds", "cobbles", "concrete", "grass", "hedge", "leaves",
    "needles", "pickets", "plaster", "rails", "slabs", "soil", "tiles",
]  # fmt: skip

Grey: TypeAlias = NDArray[np.float64]

SIDE = 256
"""Texels of a texture in each direction."""


@cache
def texture(material: Material, level: int) -> Image.Image:
    """Return the 8-bit texture of a material; each `level` halves its side."""
    if level:
        return texture(material, 0).reduce(2**level)
    return Image.fromarray(_PAINTERS[material]().clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=256)
def tiled(material: Material, columns: int, rows: int, level: int = 0) -> Image.Image:
    """Return a texture repeated `columns` times across and `rows` times down."""
    return Image.fromarray(np.tile(np.asarray(texture(material, level)), (rows, columns)))


def level_for(pixel: float, texel: float) -> int:
    """Return how often to halve a texture of `texel` metres where a pixel covers `pixel` metres."""
    return min(int(log2(pixel / texel)), 5) if pixel > texel else 0


@cache
def _noise(roughness: float, key: int) -> Grey:
    """Return seamless noise of mean 0 and deviation 1; `roughness` 0 is white, 2 is smooth."""
    white = np.random.default_rng(key).standard_normal((SIDE, SIDE))
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = np.inf
    noise: Grey = np.fft.irfft2(np.fft.rfft2(white) * frequency**-roughness, s=(SIDE, SIDE))
    noise /= noise.std()
    return noise


_Y: NDArray[np.int64]
_X: NDArray[np.int64]
_Y, _X = np.mgrid[:SIDE, :SIDE]


def _stones(columns: int, rows: int, joint: int, *, bond: bool) -> tuple[Grey, Grey]:
    """Return a value per stone, from -1 to 1, and 1 where joints lie, else 0."""
    height, width = SIDE // rows, SIDE // columns
    row = _Y // height
    x = (_X + (row % 2) * (width // 2) * bond) % SIDE
    values = np.random.default_rng(columns).uniform(-1, 1, (rows, columns))
    joints = (_Y % height < joint) | (x % width < joint)
    return values[row, x // width], joints.astype(np.float64)


def _masonry(columns: int, rows: int, joint: int, contrast: float, depth: float) -> Grey:
    stones, joints = _stones(columns, rows, joint, bond=True)
    stone = 150 + contrast * stones
    return stone + (150 - depth - stone) * joints + 8 * _noise(0.2, 3) + 8 * _noise(1.2, 4)


def _slabs() -> Grey:
    stones, joints = _stones(8, 8, 2, bond=False)
    return 160 + 10 * stones - 42 * joints + 7 * _noise(0.1, 5) + 10 * _noise(1.4, 6)


def _pickets() -> Grey:
    """Return light boards on two rails, black between."""
    y = _Y % 128
    board = (_X % 32 < 20) | ((y > 20) & (y < 32)) | ((y > 90) & (y < 102))
    return np.where(board, 205 + 14 * _noise(0.8, 9), 0.0)


def _rails() -> Grey:
    """Return thin upright bars between two rails, black between."""
    y = _Y % 128
    return np.where((_X % 16 < 5) | (y < 10) | ((y > 112) & (y < 122)) | (_X < 12), 200.0, 0.0)


def _tiles() -> Grey:
    scallop: Grey = np.cos((_X + (_Y // 16 % 2) * 8) * (2 * np.pi / 16))
    shade = 3.4 * (15 - _Y % 16)
    return 140 + 12 * scallop - shade + 9 * _noise(0.7, 10) + 10 * _noise(1.5, 11)


def _foliage(fine: float, coarse: float) -> Grey:
    clumps = np.tanh(1.2 * _noise(1.0, 12))
    return 118 + 52 * clumps + fine * _noise(0.25, 13) + coarse * _noise(1.5, 14)


def _rough(mean: float, fine: tuple[float, float], coarse: tuple[float, float], key: int) -> Grey:
    """Return fine and coarse noise, each as deviation and roughness."""
    return mean + fine[0] * _noise(fine[1], key) + coarse[0] * _noise(coarse[1], key + 1)


_PAINTERS: dict[Material, Callable[[], Grey]] = {
    "asphalt": lambda: _rough(150, (15, 0.05), (16, 1.3), 1),
    "brick": lambda: _masonry(16, 32, 1, 26, -34),
    "clouds": lambda: 128 + 52 * _noise(1.65, 15),
    "cobbles": lambda: _masonry(32, 32, 2, 30, 60),
    "concrete": lambda: _rough(160, (7, 0.1), (18, 1.5), 16),
    "grass": lambda: _rough(128, (30, 0.35), (22, 1.4), 18),
    "hedge": lambda: _foliage(30, 14),
    "leaves": lambda: _foliage(20, 26),
    "needles": lambda: _rough(110, (44, 0.5), (24, 1.3), 20),
    "pickets": _pickets,
    "plaster": lambda: _rough(165, (4, 0.1), (14, 1.6), 22),
    "rails": _rails,
    "slabs": _slabs,
    "soil": lambda: _rough(130, (24, 0.3), (26, 1.5), 24),
    "tiles": _tiles,
}
