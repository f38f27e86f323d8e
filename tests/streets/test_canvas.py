import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ddrnet.streets.camera import Camera
from ddrnet.streets.canvas import Canvas, Mesh, Plane, Shape, outline, shifted
from ddrnet.streets.light import Light
from ddrnet.streets.render import Scene, render_street

LIGHT = Light((0.0, 1.0, 0.0), 0.5, 0.0, 1e9, *[(255, 255, 255)] * 4, lamps=False)


@pytest.fixture
def canvas():
    """100 x 200 pixels; 1 m at 10 m is 20 pixels."""
    return Canvas(Camera((100, 200), focal=1.0, position=(0.0, 2.0, 0.0)), LIGHT)


def square(x, y, side, z=10.0):
    return np.array([(x, y, z), (x + side, y, z), (x + side, y + side, z), (x, y + side, z)], float)


def ids(canvas):
    return Scene(canvas.image, canvas.instances, canvas.regions).ids()


def test_paint_colours_and_labels_the_same_pixels(canvas):
    canvas.paint("building", Mesh(square(0, 1, 2), [4], [(10, 20, 30)]))
    image = np.asarray(canvas.image)
    assert np.array_equal((image == (10, 20, 30)).all(axis=2), ids(canvas) == 11)
    assert (ids(canvas) == 11).sum() == 41 * 41


def test_things_are_numbered_and_cover_each_other(canvas):
    for x in (0.0, 0.5):
        canvas.paint("car", Mesh(square(x, 1, 1), [4], [(9, 9, 9)]))
    canvas.paint("person", Mesh(square(-2, 1, 1), [4], [(9, 9, 9)]))
    assert np.unique(np.asarray(canvas.instances)).tolist() == [0, 24000, 26000, 26001]


def test_a_thing_fills_the_gap_between_its_parts(canvas):
    parts = np.concatenate([square(0, 3, 0.5), square(0, 1, 0.5)])
    canvas.paint("bicycle", Mesh(parts, [4, 4], [(9, 9, 9)] * 2))
    canvas.paint("pole", Mesh(parts - (3, 0, 0), [4, 4], [(9, 9, 9)] * 2))
    assert ids(canvas)[50, 105] == 33
    assert ids(canvas)[50, 45] == 0
    assert [region.label for region in canvas.regions] == ["bicycle", "pole", "pole"]


def test_decals_leave_the_labels(canvas):
    canvas.decals(Mesh(square(0, 1, 1), [4], [(200, 100, 0, 128)]))
    assert not ids(canvas).any()
    assert np.unique(np.asarray(canvas.image)[..., 0]).tolist() == [0, 100]


def test_a_texture_lies_in_its_plane(canvas):
    chess = Image.fromarray(np.kron([[255, 0], [0, 255]], np.ones((8, 8))).astype(np.uint8))
    plane = Plane(np.array([0, 4.0, 10]), np.array([1 / 8, 0, 0]), np.array([0, -1 / 8, 0]))
    palette = bytes(value for grey in range(256) for value in (grey, 0, 255 - grey))
    canvas.textured("wall", square(0, 2, 2), chess, plane, palette)
    image = np.asarray(canvas.image)
    for x, y, color in ((110, 20, (255, 0, 0)), (130, 20, (0, 0, 255)), (130, 40, (255, 0, 0))):
        assert tuple(image[y, x]) == color
    assert np.array_equal(image.any(axis=2), ids(canvas) == 12)


def test_shade_darkens_and_is_remembered(canvas):
    canvas.image.paste((200, 200, 200), (0, 0, 200, 100))
    ground = np.array([(-1, 0, 9), (1, 0, 9), (1, 0, 12), (-1, 0, 12)], float)
    canvas.shade(Shape(ground, [4]), 0.5)
    assert not canvas.sunlit(np.array([0.0, 0.0, 10.0]))
    assert canvas.sunlit(np.array([3.0, 0.0, 10.0]))
    image = np.asarray(canvas.image)
    assert image.min() == 100
    assert image[89, 100, 0] == 100
    assert image[20, 20, 0] == 200


@pytest.mark.parametrize("index", range(4))
def test_regions_drawn_in_order_give_the_labels(index):
    scene = render_street((128, 224), seed=8, index=index)
    drawn = Image.new("L", scene.image.size)
    rows = {"sky": 23, "road": 7, "car": 26}
    for label, polygon in scene.regions:
        ImageDraw.Draw(drawn).polygon(polygon, fill=rows.get(label, 255))
    for label_id in rows.values():
        assert np.array_equal(np.asarray(drawn) == label_id, scene.ids() == label_id)


def drawn(polygon, size=(40, 40)):
    image = Image.new("L", size)
    ImageDraw.Draw(image).polygon(polygon, fill=255)
    return np.asarray(image) > 0


def outline_of(inside):
    rows, columns = np.nonzero(inside)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    box = tuple(int(value) for value in box)
    return outline(box, Image.fromarray((inside * 255).astype(np.uint8)).crop(box))


def test_a_single_pixel():
    inside = np.zeros((40, 40), bool)
    inside[7, 9] = True
    assert np.array_equal(drawn(outline_of(inside)), inside)


def test_a_rectangle_has_four_corners():
    inside = np.zeros((40, 40), bool)
    inside[3:9, 10:20] = True
    polygon = outline_of(inside)
    assert len(polygon) == 8
    assert np.array_equal(drawn(polygon), inside)


def test_gaps_in_columns_are_filled():
    inside = np.zeros((40, 40), bool)
    inside[5:30, 5:30] = True
    full = inside.copy()
    inside[10:20, 10:20] = False
    assert np.array_equal(drawn(outline_of(inside)), full)


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), min_size=2, max_size=9))
def test_nothing_drawn_is_left_out_and_columns_end_where_they_did(corners):
    inside = drawn([value for corner in corners for value in corner])
    again = drawn(outline_of(inside))
    assert again[inside].all()
    whole = inside.any(axis=0)
    # One row more only where a thin diagonal touches the next column with a corner.
    assert (np.abs(again.argmax(0) - inside.argmax(0))[whole] <= 1).all()
    assert np.array_equal(drawn(outline_of(again)), again)


def test_shifting():
    assert shifted([1, 2, 3, 4], 10, -1) == [11, 1, 13, 3]
