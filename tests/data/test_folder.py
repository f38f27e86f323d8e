import numpy as np
import pytest
from data_files import save_png
from PIL import Image

from ddrnet.data import SegmentationFolder
from ddrnet.errors import DatasetError
from ddrnet.labels import IGNORE_INDEX, ClassLabel, LabelTable

RNG = np.random.default_rng(0)
NAMES = ["ground", "plant", "sky"]


def write(folder, name, size=(6, 9), classes=3):
    save_png(folder / "images" / f"{name}.png", RNG.integers(0, 256, (*size, 3)))
    return save_png(folder / "labels" / f"{name}.png", RNG.integers(0, classes, size))


def read(folder, class_names=NAMES, **options):
    return SegmentationFolder(folder / "images", folder / "labels", class_names, **options)


def test_names_pair_files_in_subfolders(tmp_path):
    for name in ("b", "a", "deep/er/c"):
        write(tmp_path, name)
    dataset = read(tmp_path)
    assert [sample.name for sample in dataset.samples] == ["a", "b", "deep/er/c"]
    assert [row.name for row in dataset.classes] == NAMES
    assert dataset[2][0].shape == (3, 6, 9)
    np.testing.assert_array_equal(dataset[0][1], Image.open(tmp_path / "labels/a.png"))


def test_images_of_other_formats(tmp_path):
    write(tmp_path, "a")
    Image.open(tmp_path / "images/a.png").save(tmp_path / "images/a.JPG", "jpeg")
    (tmp_path / "images/a.png").unlink()
    (tmp_path / "images/notes.txt").write_text("not an image")
    assert read(tmp_path).samples[0].image.name == "a.JPG"


def test_a_suffix_tells_labels_from_images_in_one_folder(tmp_path):
    save_png(tmp_path / "a.png", np.zeros((6, 9, 3)))
    save_png(tmp_path / "a_mask.png", np.ones((6, 9)))
    dataset = SegmentationFolder(tmp_path, tmp_path, NAMES, label_suffix="_mask")
    assert [sample.name for sample in dataset.samples] == ["a"]
    assert dataset[0][1].unique().tolist() == [1]


def test_rows_with_colors_read_color_labels(tmp_path):
    rows = [ClassLabel("ground", (1, 2, 3)), ClassLabel("sky", (200, 0, 0))]
    write(tmp_path, "a")
    save_png(tmp_path / "labels/a.png", np.full((6, 9, 3), [200, 0, 0]))
    assert read(tmp_path, rows)[0][1].unique().tolist() == [1]
    with pytest.raises(DatasetError, match=r"holds colours .*\(200, 0, 0\).*'water 0 0 255'"):
        read(tmp_path)[0]
    with pytest.raises(DatasetError, match=r"ignore a colour: ClassLabel\('void', \(9, 9, 9\)"):
        read(tmp_path, rows[:1])[0]
    void = ClassLabel("void", (200, 0, 0), 255)
    assert read(tmp_path, [rows[0], void])[0][1].unique().tolist() == [255]


def test_rows_with_ids_and_a_table_with_ignored_rows(tmp_path):
    write(tmp_path, "a")
    save_png(tmp_path / "labels/a.png", [[0, 7, 255]])
    save_png(tmp_path / "images/a.png", np.zeros((1, 3, 3)))
    rows = (ClassLabel("void", (0, 0, 0), 255, 0), ClassLabel("road", (9, 9, 9), 0, 7))
    assert read(tmp_path, LabelTable("own", rows))[0][1].tolist() == [[255, 0, 255]]
    ignored = (ClassLabel("void", (0, 0, 0), IGNORE_INDEX, 0), ClassLabel("road", (9, 9, 9), id=7))
    dataset = read(tmp_path, ignored)
    assert dataset[0][1].tolist() == [[255, 0, 255]]
    assert [row.name for row in dataset.classes] == ["road"]


def test_a_mapping_names_the_colors_of_classes(tmp_path):
    write(tmp_path, "a")
    save_png(tmp_path / "labels/a.png", np.full((6, 9, 3), [200, 0, 0]))
    dataset = read(tmp_path, {"ground": (1, 2, 3), "sky": (200, 0, 0)})
    assert dataset[0][1].unique().tolist() == [1]
    assert dataset.classes[1].color == (200, 0, 0)
    with pytest.raises(ValueError, match=r"colours must differ .*\(1, 2, 3\)"):
        read(tmp_path, {"ground": (1, 2, 3), "sky": (1, 2, 3)})


def test_values_are_ignored_that_the_caller_names(tmp_path):
    save_png(write(tmp_path, "a"), np.full((6, 9), 4))
    with pytest.raises(DatasetError, match=r"expected 0-2, 255; ignore_values="):
        read(tmp_path)[0]
    assert read(tmp_path, ignore_values=[4])[0][1].unique().tolist() == [255]
    table = LabelTable("own", (ClassLabel("x", (1, 1, 1), 0, 0),))
    assert read(tmp_path, table, ignore_values=(4,))[0][1].unique().tolist() == [255]
    with pytest.raises(ValueError, match=r"\[2\] more than once"):
        read(tmp_path, ignore_values=[2])


def test_only_named_samples_are_taken(tmp_path):
    for name in ("a", "b", "deep/c"):
        write(tmp_path, name)
    dataset = read(tmp_path, names=["deep/c", "a"], split="mine")
    assert [sample.name for sample in dataset.samples] == ["a", "deep/c"]
    assert "split='mine', images=2, classes=3" in repr(dataset)


def test_values_of_no_class_are_named_with_their_file(tmp_path):
    save_png(write(tmp_path, "bad"), np.full((6, 9), 3))
    with pytest.raises(DatasetError, match=r"bad\.png holds .*: 3; expected 0-2, 255"):
        read(tmp_path)[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: (root / "labels/a.png").unlink(), r"images/a\.png has no labels"),
        (lambda root: (root / "images/a.png").unlink(), r"labels/a\.png has no image"),
        (lambda root: (root / "labels").rename(root / "masks"), r"no image files in .*labels"),
        (lambda root: (root / "images").rename(root / "imgs"), "images does not exist"),
        (lambda root: (root / "images/a.bmp").write_bytes(b""), "differ only in their extensions"),
    ],
)
def test_folders_that_do_not_match_are_refused(tmp_path, change, says):
    write(tmp_path, "a")
    write(tmp_path, "b")
    change(tmp_path)
    with pytest.raises(DatasetError, match=says):
        read(tmp_path)
