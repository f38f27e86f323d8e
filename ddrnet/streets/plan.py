"""The plan of a street: its kind, its cross-section, and the occupied ground."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from ddrnet.streets.light import Light
from ddrnet.streets.things import Course, Thing

Plot = Literal["terrace", "house", "park", "walled", "fenced", "yard"]
PLOTS: tuple[Plot, ...] = ("terrace", "house", "park", "walled", "fenced", "yard")

SIDES = (-1, 1)
"""Left and right: the sign of metres right of the middle."""


class District(NamedTuple):
    """A kind of street.

    Attributes:
        weight: Its relative frequency.
        lanes: Largest number of lanes per direction.
        sidewalk: Range of widths in metres.
        verge: Probability of a green strip beside the road.
        plots: Weights of `PLOTS` beside the street.
        floors: Range of storeys.
        trees: Probability of trees along the street.
        parked: Share of occupied parking places; 0 without parking.
        people: Approximate number of people on a sidewalk.
        paved: Probability that the ground beyond the sidewalk is paved.
    """

    weight: int
    lanes: int
    sidewalk: tuple[float, float]
    verge: float
    plots: tuple[int, int, int, int, int, int]
    floors: tuple[int, int]
    trees: float
    parked: float
    people: int
    paved: float


DISTRICTS = (
    District(28, 1, (2.0, 4.5), 0.1, (10, 0, 1, 2, 2, 1), (3, 7), 0.35, 0.4, 7, 0.95),
    District(20, 2, (3.0, 6.0), 0.5, (7, 0, 3, 2, 2, 1), (4, 12), 0.85, 0.3, 6, 0.8),
    District(22, 1, (1.5, 2.5), 0.4, (1, 7, 2, 4, 4, 1), (1, 4), 0.5, 0.25, 4, 0.1),
    District(17, 2, (1.5, 3.0), 0.7, (1, 2, 5, 4, 5, 2), (2, 5), 0.5, 0.0, 3, 0.1),
    District(13, 1, (1.5, 3.0), 0.3, (2, 1, 1, 4, 5, 5), (2, 4), 0.2, 0.3, 3, 0.5),
)
"""Old town, boulevard, suburb, arterial road, industrial estate."""


class Side(NamedTuple):
    """The parts of one side beside the lanes. Widths in metres.

    Attributes:
        parking: Width of the parking lane; 0 without one.
        verge: Width of the green strip; 0 without one.
        sidewalk: Width of the sidewalk.
        paved: Whether the ground beyond the sidewalk is paved.
    """

    parking: float
    verge: float
    sidewalk: float
    paved: bool


class Section(NamedTuple):
    """The cross-section of a street. Widths in metres.

    Attributes:
        lane: Width of a lane.
        lanes: Number of lanes per direction.
        tracks: Half the width of the tram tracks in the middle; 0 without them.
        left: The left side.
        right: The right side.
    """

    lane: float
    lanes: int
    tracks: float
    left: Side
    right: Side

    def side(self, sign: int) -> Side:
        """Return the left or the right side."""
        return self.left if sign < 0 else self.right

    def middle(self, sign: int, lane: int) -> float:
        """Return the middle of a lane; lane 0 is the innermost."""
        return sign * (self.tracks + (lane + 0.5) * self.lane)

    @property
    def driving(self) -> float:
        """The outer edge of the outermost lane."""
        return self.tracks + self.lanes * self.lane

    def kerb(self, sign: int) -> float:
        """Return the metres from the middle to the kerb."""
        return self.driving + self.side(sign).parking

    def walk(self, sign: int) -> float:
        """Return the metres from the middle to the near edge of the sidewalk."""
        return self.kerb(sign) + self.side(sign).verge

    def border(self, sign: int) -> float:
        """Return the metres from the middle to the plots."""
        return self.walk(sign) + self.side(sign).sidewalk


class Site:
    """A street during its construction: the decisions and the things placed so far.

    Attributes:
        rng: Source of every choice.
        lamps: Whether lamps are lit.
        district: The kind of street.
        course: Its course.
        section: Its cross-section.
        crossing: Metres ahead where a crossing road begins and ends, if there is one.
        end: Metres ahead where the street ends.
        camera: Position of the camera in metres right of the middle.
        things: The things placed so far.
    """

    def __init__(self, rng: Random, light: Light) -> None:
        self.rng = rng
        self.lamps = light.lamps
        [self.district] = rng.choices(DISTRICTS, [district.weight for district in DISTRICTS])
        self.course = Course(rng.gauss(0, 1 / 900) if self.happens(0.7) else 0.0)
        self.section = self._draw_section()
        near = rng.uniform(10, 32)
        self.crossing = (near, near + rng.uniform(6, 11)) if self.happens(0.65) else None
        self.end = rng.uniform(45, 80)
        lane = rng.randrange(self.section.lanes)
        self.camera = self.section.middle(1, lane) + rng.uniform(-0.4, 0.4)
        self.things: list[Thing] = []

    def place(self, thing: Thing, *attached: Thing) -> bool:
        """Add a thing and its parts if its ground is free; return whether it is."""
        left, right, near, far = thing.footprint
        for other in self.things:  # the innermost loop of drawing a street
            taken = other.footprint
            if left < taken[1] and taken[0] < right and near < taken[3] and taken[2] < far:
                return False
        self.things += (thing, *attached)
        return True

    def on_crossing(self, near: float, far: float, margin: float = 0.0) -> bool:
        """Return whether a stretch of street touches the crossing road."""
        if self.crossing is None:
            return False
        return near < self.crossing[1] + margin and self.crossing[0] - margin < far

    def spaced(self, gap: tuple[float, float], start: float, stop: float) -> Iterator[float]:
        """Yield distances ahead with random gaps between them."""
        at = start + self.rng.uniform(0, gap[1])
        while at < stop:
            yield at
            at += self.rng.uniform(*gap)

    def happens(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

    def _draw_section(self) -> Section:
        rng = self.rng
        tracks = 3.1 if self.happens(0.45) else 0.0
        lanes = rng.randint(1, self.district.lanes)
        return Section(rng.uniform(2.9, 3.6), lanes, tracks, self._draw_side(), self._draw_side())

    def _draw_side(self) -> Side:
        rng, district = self.rng, self.district
        return Side(
            parking=2.2 if district.parked and self.happens(0.65) else 0.0,
            verge=rng.uniform(0.8, 2.5) if self.happens(district.verge) else 0.0,
            sidewalk=rng.uniform(*district.sidewalk),
            paved=self.happens(district.paved),
        )
