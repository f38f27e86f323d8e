import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.streets.camera import NEAR, Camera


@pytest.fixture
def camera():
    """100 x 200 pixels, focal length 200, 2 m above the ground."""
    return Camera((100, 200), focal=1.0, position=(0.0, 2.0, 0.0))


def test_a_level_camera_by_hand(camera):
    corners = np.array([(0, 2, 10), (1, 2, 10), (1, 1, 10), (-2, 3, 20)], float)
    # The middle is (99.5, 49.5); 1 m at 10 m is 20 pixels; Python rounds halves to even.
    assert camera.polygon(corners) == [100, 50, 120, 50, 120, 70, 80, 40]


def test_vanishing_points(camera):
    assert camera.vanishing_point(np.array([0.0, 0.0, 1.0])) == (99.5, 49.5)
    assert camera.vanishing_point(np.array([0.1, 0.0, 1.0])) == (119.5, 49.5)
    assert camera.vanishing_point(np.array([0.0, 0.0, -1.0])) is None


@pytest.mark.parametrize(
    ("turn", "right", "down"),
    [("yaw", -1, 0), ("pitch", 0, -1)],
)
def test_turning_moves_the_view(turn, right, down):
    camera = Camera((100, 200), focal=1.0, position=(0.0, 0.0, 0.0), **{turn: 0.1})
    x, y = camera.vanishing_point(np.array([0.0, 0.0, 1.0]))
    assert np.allclose([x - 99.5, y - 49.5], np.array([right, down]) * 200 * np.tan(0.1))


def test_rolling_clockwise_turns_the_picture():
    camera = Camera((100, 200), focal=1.0, position=(0.0, 0.0, 0.0), roll=np.pi / 2)
    x, y = camera.vanishing_point(np.array([0.1, 0.0, 1.0]))
    assert np.allclose([x, y], [99.5, 69.5])


def test_what_cannot_be_seen_has_no_polygon(camera):
    behind = np.array([(0, 2, -5), (1, 2, -5), (1, 3, -9)], float)
    aside = np.array([(90, 2, 5), (91, 2, 5), (91, 3, 9)], float)
    ahead = np.array([(0, 2, 5), (1, 2, 5), (1, 3, 9)], float)
    corners = np.concatenate([behind, ahead, aside])
    polygons = camera.polygons(corners, [3, 3, 3])
    assert [polygon is None for polygon in polygons] == [True, False, True]
    assert polygons[1] == camera.polygon(ahead)
    seen = camera.in_sight(np.stack([behind, ahead, aside]))
    assert seen.tolist() == [False, True, False]


def test_a_wall_past_the_camera_is_cut_at_the_frame(camera):
    wall = np.array([(3, 0, -20), (3, 0, 40), (3, 6, 40), (3, 6, -20)], float)
    polygon = np.array(camera.polygon(wall)).reshape(-1, 2)
    assert polygon.min() == 0
    assert polygon.max(axis=0).tolist() == [199, 99]
    # 3 m aside at 40 m are 15 pixels right of the middle; there the wall is 30 pixels high.
    assert polygon[:, 0].min() in {114, 115}


@given(st.lists(st.tuples(*[st.floats(-60, 60)] * 3), min_size=3, max_size=8))
def test_polygons_stay_in_the_frame(corners):
    camera = Camera((90, 160), focal=0.8, position=(1.0, 1.5, 0.0), yaw=0.1, pitch=0.05, roll=0.02)
    polygon = camera.polygon(np.array(corners))
    if polygon is not None:
        assert len(polygon) >= 6
        assert min(polygon) >= 0
        assert max(polygon[::2]) < 160
        assert max(polygon[1::2]) < 90
    assert polygon is None or camera.in_sight(np.array([corners]))[0]


def test_frames_lie_around_what_is_drawn(camera):
    boxes = np.random.default_rng(0).uniform((-3, 1, 10), (3, 4, 30), (20, 8, 3))
    for box, frame in zip(boxes, camera.frames(boxes), strict=True):
        pixels = np.array(camera.polygon(box)).reshape(-1, 2)
        assert np.array_equal(frame, [*pixels.min(axis=0), *pixels.max(axis=0)])
    around = np.array([[(x, 2.0, z) for x in (-1, 1) for z in (NEAR / 2, 9)]])
    assert camera.frames(around).tolist() == [[0, 0, 199, 99]]


def test_a_texture_map_undoes_the_projection():
    camera = Camera((90, 160), focal=0.8, position=(1.0, 1.5, 0.0), yaw=0.1, pitch=0.05, roll=0.02)
    origin, across, down = np.array([[-2.0, 4, 12], [0.01, 0, 0.005], [0, -0.02, 0.001]])
    rows = np.array(camera.texture_map(origin, across, down))
    for texel in ((0, 0), (100, 0), (70, 130)):
        point = origin + texel[0] * across + texel[1] * down
        pixel = camera.vanishing_point(point - camera.position)
        x, y, w = rows @ [*pixel, 1]
        assert np.allclose([x / w, y / w], texel)


def test_a_resized_camera_sees_the_same(camera):
    small = camera.resized(50)
    assert (small.height, small.width, small.focal) == (25, 50, 50)
    assert (camera.height, camera.width) == (100, 200)
    assert small.vanishing_point(np.array([0.2, 0.0, 1.0])) == (24.5 + 10, 12.0)
