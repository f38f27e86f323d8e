"""The faces of traffic signs."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from ddrnet.data.streets.figures import Piece, Spot, bar, box, disc, limb
from ddrnet.data.streets.paints import BLACK, BLUE, GREEN, RED, WHITE, YELLOW, Rgb


def sign_panel(rng: Random, center: Spot, size: float) -> Iterator[Piece]:
    """Yield a random sign of `size` metres from its middle to its edge."""
    if rng.random() < 0.2:
        half = (size * rng.uniform(0.7, 1.5), size * rng.uniform(0.6, 1.0))
        return board(rng, center, half, rng.choice((BLUE, WHITE, YELLOW, GREEN)))
    return rng.choice((_ban, _command, _warning, _give_way, _priority, _stop))(center, size)


def board(rng: Random, center: Spot, half: tuple[float, float], paint: Rgb) -> Iterator[Piece]:
    """Yield a rectangle with lines of writing; `half` is half its width and height."""
    (x, y), (wide, tall) = center, half
    yield box(x - wide, y - tall, x + wide, y + tall, paint)
    start, ink = x - 0.8 * wide, BLACK if sum(paint) > 400 else WHITE
    for line in (0.45, -0.1, -0.6):
        stop = start + rng.uniform(0.6, 1.5) * wide
        yield bar((start, y + line * tall), (stop, y + line * tall), 0.26 * tall, ink)


def _ban(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield disc(center, (size, size), RED)
    yield disc(center, (0.76 * size, 0.76 * size), WHITE)
    yield bar((x - 0.3 * size, y), (x + 0.3 * size, y), 0.5 * size, BLACK)


def _command(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield disc(center, (size, size), BLUE)
    yield limb((x, y - 0.5 * size), (x, y + 0.5 * size), 0.2 * size, 0.3 * size, WHITE)


def _warning(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield _triangle(x, y, size, size, RED)
    yield _triangle(x, y - 0.06 * size, 0.66 * size, 0.66 * size, WHITE)
    yield bar((x, y - 0.3 * size), (x, y + 0.2 * size), 0.18 * size, BLACK)


def _give_way(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield _triangle(x, y, size, -size, RED)
    yield _triangle(x, y + 0.06 * size, 0.66 * size, -0.66 * size, WHITE)


def _priority(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    for reach, paint in ((size, WHITE), (0.72 * size, YELLOW)):
        yield Piece(((x - reach, y), (x, y + reach), (x + reach, y), (x, y - reach)), paint)


def _stop(center: Spot, size: float) -> Iterator[Piece]:
    x, y = center
    yield disc(center, (size, size), RED)
    yield bar((x - 0.6 * size, y), (x + 0.6 * size, y), 0.36 * size, WHITE)


def _triangle(x: float, y: float, wide: float, tall: float, paint: Rgb) -> Piece:
    base = y - 0.8 * tall
    return Piece(((x - wide, base), (x, y + 0.95 * tall), (x + wide, base)), paint)
