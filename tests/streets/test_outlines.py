import numpy as np
from ddrnet.data.streets.outlines import outline, shifted
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw


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
