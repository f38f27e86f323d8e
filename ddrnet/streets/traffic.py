"""Places vehicles, cycles and people on a street."""

from __future__ import annotations

from math import pi
from typing import get_args

from ddrnet.streets.cycles import Kind, cycle
from ddrnet.streets.people import person
from ddrnet.streets.plan import SIDES, Site
from ddrnet.streets.vehicle_models import MODELS
from ddrnet.streets.vehicles import vehicle

CARS = ("saloon", "hatchback", "estate", "off-roader", "van")
TRUCKS = ("lorry", "tipper", "delivery")
BUSES = ("bus", "bus", "coach", "double-decker")
TRAINS = ("tram", "tram", "train")
CYCLES: tuple[Kind, ...] = get_args(Kind)

DIRECTION = {-1: pi, 1: 0.0}
"""Turn of the traffic on each side from the direction of the street, in radians."""


def fill_traffic(site: Site) -> None:
    """Place vehicles from the middle outwards, then people."""
    for side in SIDES:
        if site.section.tracks and site.happens(0.6):
            middle, forward = side * site.section.tracks / 2, site.rng.uniform(18, 40)
            _place(site, site.rng.choice(TRAINS), middle, forward, DIRECTION[side])
    for side in SIDES:
        for lane in range(site.section.lanes):
            _fill_lane(site, side, site.section.middle(side, lane))
        if site.section.side(side).parking:
            _park_cars(site, side)
    if site.crossing is not None:
        _cross(site, *site.crossing)
    for side in SIDES:
        _ride_along(site, side)
        _park_cycles(site, side)
        _fill_sidewalk(site, side)


def _place(site: Site, kind: str, right: float, forward: float, turned: float) -> None:
    """Place a vehicle, or a cycle with its rider."""
    if kind in MODELS:
        site.place(vehicle(site.rng, site.course, kind, right, forward, turned=turned))
        return
    label: Kind = "bicycle" if kind == "bicycle" else "motorcycle"
    ridden = cycle(site.rng, site.course, label, right, forward, turned=turned, ridden=True)
    site.place(ridden)


def _ride_along(site: Site, side: int) -> None:
    """Place cycles at the edge of the outermost lane."""
    for forward in site.spaced((5, 25), 5, 30):
        right = side * (site.section.driving - site.rng.uniform(0.3, 0.9))
        _place(site, site.rng.choice(CYCLES), right, forward, DIRECTION[side])


def _fill_lane(site: Site, side: int, middle: float) -> None:
    rng = site.rng
    own = abs(middle - site.camera) < 1.5
    at = rng.uniform(7, 24) if own else rng.uniform(3, 22)
    while at < 70:
        [kinds] = rng.choices((CARS, TRUCKS, BUSES, CYCLES), (50, 15, 15, 20))
        kind, right = rng.choice(kinds), middle + rng.gauss(0, 0.2)
        length = MODELS[kind].length if kind in MODELS else 2.0
        if kind in CYCLES:
            right += side * rng.uniform(0.3, 1.0)
        _place(site, kind, right, at + length / 2, DIRECTION[side])
        at += length + rng.choice((3, 10, 25, 45)) * rng.uniform(0.6, 1.4)


def _park_cars(site: Site, side: int) -> None:
    rng, middle = site.rng, site.section.driving + site.section.side(side).parking / 2
    for at in site.spaced((5.2, 6.6), 4, 70):
        if not site.happens(site.district.parked) or site.on_crossing(at - 3, at + 3, 3.0):
            continue
        kind = rng.choice(TRUCKS if site.happens(0.06) else CARS)
        turned = DIRECTION[side] + rng.gauss(0, 0.03) + (pi if site.happens(0.1) else 0.0)
        _place(site, kind, side * middle, at + MODELS[kind].length / 2, turned)


def _cross(site: Site, near: float, far: float) -> None:
    """Place vehicles on the crossing road, and people on the crosswalks."""
    rng, width = site.rng, far - near
    for forward, turned in ((near + 0.28 * width, pi / 2), (near + 0.74 * width, -pi / 2)):
        for right in site.spaced((9, 40), -40, 40):
            if site.happens(0.54):
                [kinds] = rng.choices((CARS, TRUCKS, BUSES, CYCLES), (33, 16, 16, 35))
                _place(site, rng.choice(kinds), right, forward, turned)
    for forward in (near - 2.4, far + 2.0):
        for _ in range(rng.randrange(4)):
            right = rng.uniform(-site.section.kerb(-1), site.section.kerb(1))
            site.place(person(rng, site.course, right, forward + rng.uniform(-1, 1)))


def _park_cycles(site: Site, side: int) -> None:
    rng, inner, outer = site.rng, site.section.walk(side), site.section.border(side)
    for forward in site.spaced((4, 14), 5, 30):
        kind, turned = rng.choice(CYCLES), rng.choice((0.0, pi / 2, pi / 3, pi))
        right = side * rng.uniform(inner + 0.6, max(outer - 0.4, inner + 0.7))
        for step in range(rng.randint(1, 4)):
            at = forward + 1.5 * step
            if not site.on_crossing(at, at, 3.0):
                site.place(cycle(rng, site.course, kind, right, at, turned=turned, ridden=False))


def _fill_sidewalk(site: Site, side: int) -> None:
    rng, inner, outer = site.rng, site.section.walk(side), site.section.border(side)
    for _ in range(rng.randint(0, 2 * site.district.people)):
        right, forward = (
            side * rng.uniform(inner + 0.3, outer - 0.2),
            4 + 28 * rng.random() ** 1.3,
        )
        for step in range(rng.choice((1, 1, 1, 2, 3))):
            site.place(person(rng, site.course, right + 0.55 * step, forward + 0.3 * step))
    if site.happens(0.25):
        _place(site, "bicycle", side * (inner + 0.6), rng.uniform(6, 40), DIRECTION[side])
