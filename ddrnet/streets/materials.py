"""Paints, and seamless grey textures of materials, made once per process from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from math import log2
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rgb: TypeAlias = tuple[int, int, int]
"""Red, green, blue, each 0-255."""

Paint: TypeAlias = tuple[int, int, int] | tuple[int, int, int, int]
"""Red, green, blue and, for transparent paint, opacity; each 0-255."""


def paints(listed: str) -> tuple[Rgb, ...]:
    """Return paints from hexadecimal words."""
    values = [int(word, 16) for word in listed.split()]
    return tuple((value >> 16, value >> 8 & 255, value & 255) for value in values)


def scaled(paint: Rgb, factor: float) -> Rgb:
    """Return a brighter or darker paint."""
    r, g, b = paint
    return min(255, int(r * factor)), min(255, int(g * factor)), min(255, int(b * factor))


def mixed(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Return a mixture of `a` with a share of `b`."""
    red, green, blue = (int(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


BLACK, GREY, SILVER, WHITE, RED, BLUE, GREEN, YELLOW = paints(
    "222224 4a4a4e a0a4a8 ececea be1c22 164a9c 186e46 eeba22"
)
METALS = paints("7c8084 54585c 3a3e42 96989a 3c4c40 6a5642")
SKINS = paints("e0b498 c69678 96684e 684634 ecc4aa")
HAIRS = paints("241c18 483222 7c5c3a bca070 969492 c42828 3c4682")
CLOTHES = paints(
    "202228 3e3e4a 283454 60666e 96282c dedcd4 b0966e 46583e c47832 7896b0 e2c450 804a6e "
    "583c2c c85a78 3c8c82 2c2824"
)
TROUSERS = paints("242c42 1c1c20 4a546a 706454 3c3a38 968c7a 323e34 bebab2")
CARS = paints(
    "e2e4e6 c4c8cc 969aa0 60646a 2c2e32 1e2026 80181c b02424 1c3468 345c96 244c3c c4b03c a88460 "
    "d6ceba 7896b0 c86024"
)
LIVERIES: dict[str, tuple[Rgb, ...]] = {
    "car": CARS,
    "truck": paints("e6e6e2 c8ccd0 9aa2aa b4946c 2c3e64 5a6066"),
    "bus": paints("deb424 d87828 2860a0 30804c 6e3c78 bec83c"),
    "train": paints("be2428 a01c2c d03c30 e8dcc0"),
}
"""Paints of each class of vehicle."""
FRAMES = {
    "bicycle": paints("d62828 2864c8 28a050 e8c020 e6e2da"),
    "motorcycle": paints("1e1e22 3a3c40 5a2022 82868c"),
}
"""Paints of each kind of cycle."""
JACKETS = paints("c8e632 ff8c1e dcf050")
"""Paints of the clothes of riders."""
WALLS = paints(
    "d6ccba c4b6a0 e8e2d6 b2aaa2 96908c ceaa7c ba7e60 965442 7a483a e2ca8c bec4be a8bac8 d8b4a6 "
    "707276 ecece8 8c8270 626870 b09eb2 9eb296"
)
ROOFS = paints("f57e5e d26954 a89e9a 827e85 e3af8c 9d695b c0cbd5")
SIGNS = paints("aa1e24 18468c 1e6e3c e2b220 28282c e6e4de c8601e 5a2864 147882")
GLASSES = paints("465260 607486 343a40 788c9c 54625e")
WINDOW_FRAMES = paints("eceae4 eceae4 eceae4 3c3a38 785a3e")
BARRIERS = paints("bc8068 a0604c debe96 d8a878")
FENCES = paints("e8e6e0 2c5a3c 1e2a24 1c4670")
BINS = paints("3c5a3e 505256 aaa8a0 c87828 283c6e 968c78")
BARKS = paints("56483a 6e6458 423830 969288")


Material = Literal[
    "asphalt", "brick", "clouds", "cobbles", "concrete", "grass", "hedge", "leaves",
    "needles", "pickets", "plaster", "rails", "slabs", "soil", "tiles",
]  # fmt: skip

Grey: TypeAlias = NDArray[np.float64]

SIDE = 256
"""Side of a texture in texels."""


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
    """Return the halvings of a texture of `texel` metres for pixels of `pixel` metres."""
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
    """Return a value per stone, from -1 to 1, and a map of the joints: 1 in a joint, else 0."""
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
    """Return light boards on two rails, with black gaps."""
    y = _Y % 128
    board = (_X % 32 < 20) | ((y > 20) & (y < 32)) | ((y > 90) & (y < 102))
    return np.where(board, 205 + 14 * _noise(0.8, 9), 0.0)


def _rails() -> Grey:
    """Return thin upright bars between two rails, with black gaps."""
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
