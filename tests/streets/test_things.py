import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.streets.camera import Camera
from ddrnet.streets.canvas import Shape
from ddrnet.streets.things import Footprint, Thing, box_corners, box_shape, painting_order, unhidden


def test_far_things_come_first():
    footprints = [Footprint.around(0, z, 0.5) for z in (5, 20, 10)]
    assert painting_order(footprints, camera=0.0) == [1, 2, 0]


def test_a_long_tram_hides_what_is_beside_and_beyond_it():
    tram = Footprint(-4, -1.5, 5, 40)
    beside, before, behind = (Footprint.around(x, z, 0.5) for x, z in ((-6, 6), (0, 30), (-3, 45)))
    order = painting_order([tram, beside, before, behind], camera=1.5)
    assert order.index(0) > max(order.index(1), order.index(3))
    assert order.index(2) > order.index(0)


cells = st.lists(
    st.tuples(st.integers(-6, 6), st.integers(0, 9), st.integers(1, 3), st.integers(1, 3)),
    min_size=2,
    max_size=9,
)


@given(cells, st.floats(-3, 3))
def test_no_thing_is_painted_over_by_one_behind_it(boxes, camera):
    """Walk along lines of sight: what is met first must be painted last."""
    footprints = []
    for left, near, wide, deep in boxes:
        box = Footprint(left, left + wide, near + 1, near + 1 + deep)
        clear = all(
            box.left >= o.right or o.left >= box.right or box.near >= o.far or o.near >= box.far
            for o in footprints
        )
        if clear:
            footprints.append(box)
    rank = {index: r for r, index in enumerate(painting_order(footprints, camera))}
    assert sorted(rank) == list(range(len(footprints)))
    for slope in np.linspace(-6, 6, 61):
        met = []
        for z in np.linspace(0.01, 14, 500):
            x = camera + slope * z
            for index, (left, right, near, far) in enumerate(footprints):
                if left < x < right and near < z < far and index not in met:
                    met.append(index)
        assert all(rank[a] > rank[b] for a, b in itertools.pairwise(met))


def box(footprint, height, *, solid=True):
    shape = box_shape(box_corners(footprint, height))
    return Thing(footprint, lambda canvas: None, height, shape=shape, solid=solid)


def seen(*things):
    camera = Camera((100, 200), focal=1.0, position=(0.0, 1.5, 0.0))
    boxes = np.stack([box_corners(thing.footprint, thing.height) for thing in things])
    return unhidden(things, boxes, camera)


def test_what_a_building_covers_is_left_out():
    building = box(Footprint(2, 12, 10, 20), 10)
    behind, beside = box(Footprint(6, 7, 30, 31), 2), box(Footprint(-4, -3, 30, 31), 2)
    assert seen(behind, beside, building) == [beside, building]
    assert seen(building, behind) == [building, behind]


def test_through_a_fence_everything_is_seen():
    fence = box(Footprint(2, 12, 10, 20), 10, solid=False)
    behind = box(Footprint(6, 7, 30, 31), 2)
    assert seen(behind, fence) == [behind, fence]


def test_what_stands_out_is_kept():
    wall = box(Footprint(-20, 20, 10, 10.2), 2)
    tall, low = box(Footprint(0, 1, 30, 31), 9), box(Footprint(0, 1, 30, 31), 1)
    assert seen(low, tall, wall) == [tall, wall]


def test_shapes_hold_all_their_corners():
    shape = box_shape(box_corners(Footprint(0, 1, 2, 3), 4.0))
    assert isinstance(shape, Shape)
    assert sum(shape.counts) == len(shape.corners) == 20
