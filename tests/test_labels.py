import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.labels import (
    CAMVID,
    CAMVID_RAW,
    CITYSCAPES,
    IGNORE_INDEX,
    ClassLabel,
    LabelTable,
    class_labels,
)

NAMES = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=300, unique=True)


def test_cityscapes_rows_are_the_official_ones():
    official = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    assert [row.name for row in CITYSCAPES.rows] == [label.name for label in official]
    for row, label in zip(CITYSCAPES.rows, official, strict=True):
        assert row.id == label.id
        assert row.train_id == label.trainId % 256
        assert (row.category, row.category_id) == (label.category, label.categoryId)
        assert (row.has_instances, row.ignored) == (label.hasInstances, label.ignoreInEval)
        assert row.color == label.color


def test_cityscapes_mappings():
    assert len(CITYSCAPES.rows) == 35
    assert [row.name for row in CITYSCAPES.classes[:3]] == ["road", "sidewalk", "building"]
    assert [row.train_id for row in CITYSCAPES.classes] == list(range(19))
    assert CITYSCAPES.palette[13] == (0, 0, 142)
    assert CITYSCAPES.categories[11:13] == ("human", "human")
    assert CITYSCAPES.known_ids == {*range(34), 255}
    assert CITYSCAPES.id_to_train_id[7] == 0
    assert CITYSCAPES.id_to_train_id[33] == 18
    assert set(CITYSCAPES.id_to_train_id[34:]) == {IGNORE_INDEX}
    assert CITYSCAPES.train_id_to_id[:3] == bytes([7, 8, 11])
    assert set(CITYSCAPES.train_id_to_id[19:]) == {0}


def test_a_shared_color_means_the_trained_class():
    assert CITYSCAPES.color_to_train_id[153, 153, 153] == 5  # pole, not polegroup
    assert CITYSCAPES.color_to_train_id[0, 0, 142] == 13  # car, not license plate


@pytest.mark.parametrize("table", [CITYSCAPES, CAMVID])
def test_train_ids_survive_the_way_through_ids(table):
    ids = table.train_id_to_id
    assert [table.id_to_train_id[ids[k]] for k in range(len(table.classes))] == list(
        range(len(table.classes))
    )
    assert table.id_to_train_id[ids[IGNORE_INDEX]] == IGNORE_INDEX


def test_camvid_raw_colors_fall_on_the_eleven_classes():
    assert len(CAMVID_RAW.rows) == len(CAMVID_RAW.color_to_train_id) == 32
    assert len(CAMVID.classes) == 11
    named = {row.name: row.train_id for row in CAMVID_RAW.rows}
    assert named["Void"] == IGNORE_INDEX
    assert CAMVID.classes[named["SUVPickupTruck"]].name == "Car"
    assert CAMVID.classes[named["LaneMkgsDriv"]].name == "Road"
    for row in CAMVID.classes:
        assert CAMVID_RAW.color_to_train_id[row.color] == row.train_id


@given(NAMES)
def test_class_labels_number_and_color_plain_names(names):
    rows = class_labels(names)
    assert [row.name for row in rows] == names
    assert [row.train_id for row in rows] == [row.id for row in rows] == list(range(len(names)))
    colors = {row.color for row in rows}
    assert len(colors) == len(names)
    assert (0, 0, 0) not in colors
    assert all(0 <= value <= 255 for color in colors for value in color)


def test_class_labels_keep_given_rows_and_avoid_their_colors():
    first_free = class_labels(["x"])[0].color
    rows = class_labels([CITYSCAPES.classes[11], ClassLabel("own", first_free), "plain"])
    assert [row.train_id for row in rows] == [0, 1, 2]
    assert [row.id for row in rows] == [24, 1, 2]
    assert rows[0].color == (220, 20, 60)
    assert rows[2].color not in {first_free, (220, 20, 60)}
    assert class_labels(CITYSCAPES.classes) == CITYSCAPES.classes


@pytest.mark.parametrize(
    ("names", "error", "says"),
    [
        ([], ValueError, "at least one class"),
        (["road", ""], ValueError, "needs a name"),
        (["road", " "], ValueError, "needs a name"),
        (["road", "sky", "road"], ValueError, r"\['road'\] more than once"),
        ("road", TypeError, "sequence of names"),
        ([1, 2], TypeError, "sequence of names"),
    ],
)
def test_class_labels_refuse_what_makes_no_classes(names, error, says):
    with pytest.raises(error, match=says):
        class_labels(names)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([ClassLabel("a", (0, 0, 0), 1)], r"0, 1, 2, \.\.\. below 255.*\[1\]"),
        ([ClassLabel("a", (0, 0, 0), 0, 300)], r"8-bit values, got \[300\]"),
        ([ClassLabel("a", (0, 0, 0), 0, 4), ClassLabel("b", (0, 0, 0), 1, 4)], r"\[4\] more than"),
        ([ClassLabel("a", (0, 0, 0), 0), ClassLabel("a", (0, 0, 0), 1)], r"\['a'\] more than"),
    ],
)
def test_a_table_refuses_rows_that_contradict_each_other(rows, says):
    with pytest.raises(ValueError, match=says):
        LabelTable("own", rows)


def test_255_is_ignored_unless_a_row_claims_it():
    plain = LabelTable("own", class_labels(["background", "object"]))
    masks = LabelTable(
        "masks", class_labels(["background", ClassLabel("object", (9, 9, 9), id=255)])
    )
    assert plain.id_to_train_id[255] == IGNORE_INDEX
    assert (masks.id_to_train_id[0], masks.id_to_train_id[255]) == (0, 1)
    assert masks.train_id_to_id[:2] == bytes([0, 255])


@pytest.mark.parametrize("color", [(0, 0), (0, 0, 256), (-1, 0, 0)])
def test_a_color_is_three_bytes(color):
    with pytest.raises(ValueError, match="red, green and blue"):
        ClassLabel("x", color)


def test_labels_load_no_torch():
    code = "import sys, ddrnet.labels; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
