"""Paints: what colour things have in white light."""

from __future__ import annotations

from typing import TypeAlias

Rgb: TypeAlias = tuple[int, int, int]
"""Red, green, blue, each 0-255."""

Paint: TypeAlias = tuple[int, int, int] | tuple[int, int, int, int]
"""Red, green, blue and, where things shine through, opacity; each 0-255."""


def paints(listed: str) -> tuple[Rgb, ...]:
    """Return the paints listed as hexadecimal words."""
    values = [int(word, 16) for word in listed.split()]
    return tuple((value >> 16, value >> 8 & 255, value & 255) for value in values)


def scaled(paint: Rgb, factor: float) -> Rgb:
    """Return a brighter or darker paint."""
    r, g, b = paint
    return min(255, int(r * factor)), min(255, int(g * factor)), min(255, int(b * factor))


def mixed(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Return `a` with a share of `b` in it."""
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
"""Clothes of those who ride."""
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
