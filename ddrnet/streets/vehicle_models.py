"""The kinds of vehicles: side profiles, extended to the width of the vehicle."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Spot: TypeAlias = tuple[float, float]
"""Metres along the vehicle, from 0 at the rear, and metres up."""

Outline: TypeAlias = tuple[Spot, ...]

Face = Literal["body", "glass", "rear", "front"]


class Hull(NamedTuple):
    """A convex piece of a vehicle.

    Attributes:
        outline: Its profile, from the lower rear edge over the top to the lower front edge.
        faces: The part of the vehicle at each stretch of the outline.
        belt: Height in metres; above it the sides lean inwards.
        roof: Width at the top as a fraction of the width at the belt.
        windows: Four corners of each window in its sides: rear, rear top, front top, front.
    """

    outline: Outline
    faces: tuple[Face, ...]
    belt: float
    roof: float
    windows: tuple[Outline, ...] = ()

    @property
    def top(self) -> float:
        """The highest point in metres."""
        return max(up for _, up in self.outline)

    def leaning(self, up: float) -> float:
        """Return the width at a height as a fraction of the width at the belt."""
        if up <= self.belt:
            return 1.0
        return 1 - (1 - self.roof) * (up - self.belt) / (self.top - self.belt)


class Model(NamedTuple):
    """A kind of vehicle.

    Attributes:
        label: Class of its pixels.
        length: Its length in metres.
        width: Its width in metres.
        hulls: Its pieces, from the rear to the front.
        wheels: Position along the vehicle and radius of each wheel of a side.
    """

    label: Literal["car", "truck", "bus", "train"]
    length: float
    width: float
    hulls: tuple[Hull, ...]
    wheels: tuple[Spot, ...]

    @property
    def height(self) -> float:
        """The highest point in metres."""
        return max(hull.top for hull in self.hulls)


def _line(*numbers: float) -> Outline:
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _row(rear: float, front: float, low: float, high: float, count: int) -> tuple[Outline, ...]:
    """Return a row of upright windows."""
    step = (front - rear) / count
    rears = [rear + index * step for index in range(count)]
    return tuple(
        _line(at, low, at, high, at + 0.9 * step, high, at + 0.9 * step, low) for at in rears
    )


def _car(length: float, hull: Hull) -> Model:
    return Model("car", length, 1.78, (hull,), ((0.19 * length, 0.32), (0.81 * length, 0.32)))


_SALOON: tuple[Face, ...] = (
    "rear", "rear", "body", "glass", "body", "glass", "body", "front", "front",
)  # fmt: skip
_HATCH: tuple[Face, ...] = ("rear", "rear", "glass", "body", "glass", "body", "front", "front")
_BOX: tuple[Face, ...] = ("rear", "body", "front")
_CAB: tuple[Face, ...] = ("body", "body", "glass", "front")
_COACH: tuple[Face, ...] = ("rear", "glass", "body", "body", "body", "glass", "front")

# fmt: off
MODELS = {
    "saloon": _car(4.5, Hull(
        _line(0, .28, -.03, .62, .05, .98, .62, 1.02, 1.3, 1.42, 2.55, 1.45, 3.3, .98, 4.3, .8,
              4.5, .55, 4.45, .25), _SALOON, 0.95, 0.74,
        (_line(.85, 1, 1.35, 1.36, 1.95, 1.39, 1.95, 1),
         _line(2.03, 1, 2.03, 1.39, 2.52, 1.38, 3.08, 1)))),
    "hatchback": _car(3.9, Hull(
        _line(0, .3, -.03, .62, .06, .98, .5, 1.42, 2.1, 1.48, 2.85, 1, 3.7, .84, 3.92, .58,
              3.86, .26), _HATCH, 0.97, 0.76,
        (_line(.45, 1.02, .62, 1.36, 1.4, 1.41, 1.4, 1.02),
         _line(1.48, 1.02, 1.48, 1.41, 2.05, 1.41, 2.62, 1.02)))),
    "estate": _car(4.7, Hull(
        _line(0, .28, -.03, .62, .04, 1, .42, 1.45, 2.75, 1.5, 3.5, 1, 4.5, .84, 4.7, .58,
              4.65, .26), _HATCH, 0.98, 0.76,
        (_line(.3, 1.04, .5, 1.38, 1.2, 1.42, 1.2, 1.04),
         _line(1.28, 1.04, 1.28, 1.42, 2.1, 1.43, 2.1, 1.04),
         _line(2.18, 1.04, 2.18, 1.43, 2.7, 1.42, 3.26, 1.04)))),
    "off-roader": _car(4.5, Hull(
        _line(0, .38, -.03, .75, .04, 1.12, .28, 1.68, 2.5, 1.74, 3.2, 1.16, 4.25, 1.04, 4.5, .72,
              4.45, .36), _HATCH, 1.1, 0.8,
        (_line(.3, 1.18, .42, 1.58, 1.2, 1.64, 1.2, 1.18),
         _line(1.28, 1.18, 1.28, 1.64, 2.45, 1.64, 2.98, 1.18)))),
    "van": _car(5.2, Hull(
        _line(0, .34, -.03, .8, .02, 1.3, .12, 2.15, 3.7, 2.2, 4.45, 1.3, 5, 1.05, 5.2, .7,
              5.15, .3), _HATCH, 1.2, 0.86,
        (_line(3, 1.3, 3, 1.9, 3.65, 1.95, 4.15, 1.3),))),
    "lorry": Model("truck", 8.2, 2.45, (
        Hull(_line(0, .75, 0, 3.5, 6, 3.5, 6, .75), _BOX, 9.0, 1.0),
        Hull(_line(6.15, .5, 6.2, 2.7, 7.6, 2.75, 8.15, 1.45, 8.2, .4), _CAB, 1.4, 0.9,
             (_line(6.9, 1.5, 6.9, 2.3, 7.55, 2.35, 7.95, 1.5),)),
    ), ((1.6, .5), (7.2, .5))),
    "tipper": Model("truck", 7.0, 2.45, (
        Hull(_line(0, .95, .1, 2.2, 4.7, 2.3, 4.7, .95), _BOX, 9.0, 1.0),
        Hull(_line(4.95, .5, 5, 2.7, 6.3, 2.75, 6.9, 1.5, 7, .4), _CAB, 1.4, 0.9,
             (_line(5.6, 1.5, 5.6, 2.3, 6.25, 2.35, 6.7, 1.5),)),
    ), ((1.0, .5), (2.1, .5), (6.0, .5))),
    "delivery": Model("truck", 6.4, 2.15, (
        Hull(_line(0, .6, 0, 2.9, 4.4, 2.95, 4.4, .6), _BOX, 9.0, 1.0),
        Hull(_line(4.4, .45, 4.4, 2.2, 4.9, 2.2, 5.5, 1.35, 6.2, 1.1, 6.4, .4),
             ("body", "body", "glass", "body", "front"), 1.3, 0.88,
             (_line(4.55, 1.35, 4.55, 1.95, 4.88, 1.95, 5.3, 1.35),)),
    ), ((1.2, .4), (5.5, .4))),
    "bus": Model("bus", 11.5, 2.5, (
        Hull(_line(0, .35, -.03, 1.3, .1, 2.95, .3, 3.05, 11.2, 3.05, 11.45, 2.9, 11.5, 1,
                   11.45, .3), _COACH, 2.8, 0.97, _row(.6, 10.9, 1.25, 2.45, 7)),
    ), ((2.6, .5), (8.6, .5))),
    "coach": Model("bus", 12.5, 2.5, (
        Hull(_line(0, .4, -.05, 1.9, .2, 3.3, .5, 3.45, 12, 3.45, 12.3, 3.2, 12.5, 1.3, 12.4, .3),
             _COACH, 2.9, 0.95, _row(.9, 11.9, 1.9, 2.95, 6)),
    ), ((3.0, .52), (9.6, .52))),
    "double-decker": Model("bus", 10.6, 2.5, (
        Hull(_line(0, .35, 0, 1.5, .05, 4.2, .2, 4.3, 10.3, 4.3, 10.5, 4.1, 10.6, 1.1, 10.55, .3),
             _COACH, 4.0, 0.96, _row(.5, 10, 1.3, 2.1, 6) + _row(.5, 10, 2.9, 3.8, 6)),
    ), ((2.4, .5), (7.8, .5))),
    "tram": Model("train", 27.0, 2.45, (
        Hull(_line(0, .3, 0, 1.35, .6, 2.9, 1.2, 3.35, 13.2, 3.35, 13.2, .3),
             _COACH[:5], 3.0, 0.93, _row(1.4, 13, 1.25, 2.55, 6)),
        Hull(_line(13.7, .3, 13.7, 3.35, 25.8, 3.35, 26.4, 2.9, 27, 1.35, 27, .3),
             _COACH[2:], 3.0, 0.93, _row(13.9, 25.6, 1.25, 2.55, 6)),
    ), ((3.0, .28), (5.0, .28), (13.45, .28), (22.0, .28), (24.0, .28))),
    "train": Model("train", 25.0, 2.8, (
        Hull(_line(0, .5, -.1, 1.5, .3, 3.3, .7, 3.7, 24.3, 3.7, 24.7, 3.3, 25.1, 1.5, 25, .5),
             _COACH, 2.8, 0.88, _row(1.6, 23.4, 1.75, 2.75, 10)),
    ), ((2.5, .45), (5.0, .45), (20.0, .45), (22.5, .45))),
}
# fmt: on
"""Every kind of vehicle by name."""
