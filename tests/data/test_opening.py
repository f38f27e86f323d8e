import numpy as np
import pytest
from data_files import save_png, write_cityscapes

from ddrnet.data import CamVid, Cityscapes, SegmentationFolder, open_dataset
from ddrnet.data.opening import recognise, scan_every_split
from ddrnet.errors import DatasetError


def write_own(root, names, classes="water\nland\n", labels="labels"):
    for name in names:
        save_png(root / "images" / f"{name}.png", np.zeros((4, 6, 3)))
        save_png(root / labels / f"{name}.png", np.ones((4, 6)))
    if classes:
        (root / "classes.txt").write_text(classes)
    return root


def names(dataset):
    return [sample.name for sample in dataset.samples]


def test_cityscapes_is_recognised_and_val_is_the_default(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 2}, "val": {"ulm": 1}})
    dataset = open_dataset(tmp_path)
    assert isinstance(dataset, Cityscapes)
    assert (dataset.split, len(dataset)) == ("val", 1)
    assert len(open_dataset(tmp_path, split="train")) == 2
    assert repr(dataset) == f"Cityscapes(root={str(tmp_path)!r}, split='val', images=1, classes=19)"


def test_camvid_is_recognised_in_both_layouts(tmp_path):
    lists, raw = tmp_path / "lists", tmp_path / "raw"
    save_png(lists / "val/a.png", np.zeros((4, 6, 3)))
    save_png(lists / "valannot/a.png", np.zeros((4, 6)))
    (lists / "val.txt").write_text("val/a.png valannot/a.png")
    save_png(raw / "701_StillsRaw_full/0016E5_07961.png", np.zeros((4, 6, 3)))
    save_png(raw / "LabeledApproved_full/0016E5_07961_L.png", np.full((4, 6, 3), 128))
    for root in (lists, raw):
        dataset = open_dataset(root)
        assert isinstance(dataset, CamVid)
        assert (dataset.split, len(dataset)) == ("val", 1)


def test_own_data_without_splits_is_one_data_set(tmp_path):
    dataset = open_dataset(write_own(tmp_path, ["a", "city/b"]))
    assert isinstance(dataset, SegmentationFolder)
    assert (names(dataset), dataset.split) == (["a", "city/b"], None)
    assert [row.name for row in dataset.classes] == ["water", "land"]
    assert dataset[0][1].unique().tolist() == [1]


def test_own_data_never_mixes_its_splits(tmp_path):
    write_own(tmp_path, ["train/a", "train/b", "val/c", "test/d"])
    assert names(open_dataset(tmp_path)) == ["c"]
    assert names(open_dataset(tmp_path, split="train")) == ["a", "b"]
    assert open_dataset(tmp_path, split="test").split == "test"


@pytest.mark.parametrize("labels", ["masks", "annotations"])
def test_the_folder_of_labels_may_have_other_names(tmp_path, labels):
    assert len(open_dataset(write_own(tmp_path, ["a"], labels=labels))) == 1
    (tmp_path / "labels").mkdir()
    with pytest.raises(DatasetError, match="several folders of label files"):
        open_dataset(tmp_path)


def test_lists_name_the_images_of_a_split(tmp_path):
    write_own(tmp_path, ["a", "city/b", "c"])
    (tmp_path / "train.txt").write_text("a\nimages/city/b.png\n")
    (tmp_path / "val.txt").write_text("c.png\n\n")
    assert recognise(tmp_path) == "folder"
    assert names(open_dataset(tmp_path)) == ["c"]
    assert names(open_dataset(tmp_path, split="train")) == ["a", "city/b"]


def test_a_readme_beside_the_data_is_no_split(tmp_path):
    write_own(tmp_path, ["a", "b"])
    (tmp_path / "README.txt").write_text("Photos of the lake.")
    (tmp_path / "fold1.txt").write_text("b")
    assert len(open_dataset(tmp_path)) == 2
    assert list(scan_every_split(tmp_path)) == ["all"]
    assert names(open_dataset(tmp_path, val_fraction=0.5)) in (["a"], ["b"])
    assert names(open_dataset(tmp_path, split="fold1")) == ["b"]


def test_a_listed_image_that_is_missing_is_named(tmp_path):
    write_own(tmp_path, ["a"])
    (tmp_path / "val.txt").write_text("a\nb\n")
    with pytest.raises(DatasetError, match=r"images/b is listed and missing"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_a_fraction_parts_own_data_once_and_for_all(tmp_path, fraction):
    write_own(tmp_path, [f"{k:02d}" for k in range(20)])
    split = {s: names(open_dataset(tmp_path, split=s, val_fraction=fraction, seed=3))
             for s in ("train", "val")}  # fmt: skip
    assert sorted(split["train"] + split["val"]) == [f"{k:02d}" for k in range(20)]
    assert len(split["val"]) == min(max(1, round(20 * fraction)), 19)
    assert names(open_dataset(tmp_path, val_fraction=fraction, seed=3)) == split["val"]
    if fraction == 0.3:
        assert names(open_dataset(tmp_path, val_fraction=fraction, seed=4)) != split["val"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "holdout"}, r"no split 'holdout'; there are train, val\."),
        ({"split": "classes"}, "no split 'classes'"),
        ({"val_fraction": 0.1}, "has the splits train, val already"),
        ({"kind": "voc"}, "kind must be one of"),
    ],
)
def test_contradictions_are_told(tmp_path, options, says):
    write_own(tmp_path, ["train/a", "val/b"])
    with pytest.raises(ValueError, match=says):
        open_dataset(tmp_path, **options)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_fractions_lie_between_0_and_1(tmp_path, fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        open_dataset(write_own(tmp_path, ["a", "b"]), val_fraction=fraction)


def test_a_fraction_divides_own_data_only(tmp_path):
    write_cityscapes(tmp_path, {"val": {"ulm": 1}})
    with pytest.raises(ValueError, match="is cityscapes, which has splits"):
        open_dataset(tmp_path, val_fraction=0.1)


def test_classes_come_from_the_file_before_the_caller(tmp_path):
    write_own(tmp_path, ["a"])
    dataset = open_dataset(tmp_path, class_names=["x", "y", "z"])
    assert [row.name for row in dataset.classes] == ["water", "land"]
    (tmp_path / "classes.txt").unlink()
    dataset = open_dataset(tmp_path, class_names=["x", "y", "z"])
    assert [row.name for row in dataset.classes] == ["x", "y", "z"]
    with pytest.raises(DatasetError, match=r"classes\.txt is missing"):
        open_dataset(tmp_path)


def test_an_unknown_value_says_how_to_ignore_it(tmp_path):
    write_own(tmp_path, ["a"], classes="water\n")
    with pytest.raises(DatasetError, match=r"a\.png holds .*: 1; .*'unlabelled 7 ignore' in it"):
        open_dataset(tmp_path)[0]
    (tmp_path / "classes.txt").write_text("water\nunlabelled 1 ignore\n")
    assert open_dataset(tmp_path)[0][1].unique().tolist() == [255]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_of_no_known_layout_is_refused(tmp_path, folder):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(
        DatasetError, match=r"(?s)no layout that is known.*leftImg8bit.*images/NAME"
    ):
        open_dataset(tmp_path / folder)


def test_every_split_of_cityscapes_is_scanned(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 2}, "test": {"bonn": 1}})
    write_cityscapes(tmp_path, {"train_extra": {"erlangen": 1}}, kind="gtCoarse")
    (tmp_path / "gtFine/val/lindau").mkdir(parents=True)
    scans = scan_every_split(tmp_path)
    found = {name: (len(scan.samples), len(scan.problems)) for name, scan in scans.items()}
    assert found == {
        "train, fine": (2, 0),
        "val, fine": (0, 2),
        "test, fine": (1, 0),
        "train_extra, coarse": (1, 0),
    }


def test_every_listed_split_of_camvid_is_scanned(tmp_path):
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(f"/x/{split}/a.png /x/{split}annot/a.png\n")
    scans = scan_every_split(tmp_path)
    assert {name: len(scan.problems) for name, scan in scans.items()} == {"train": 2, "val": 2}


def test_the_original_camvid_is_scanned(tmp_path):
    save_png(tmp_path / "701_StillsRaw_full/Seq05VD_f00000.png", np.zeros((2, 2, 3)))
    save_png(tmp_path / "LabeledApproved_full/Seq05VD_f00000_L.png", np.zeros((2, 2, 3)))
    assert len(scan_every_split(tmp_path)["test"].samples) == 1


def test_every_split_of_own_data_is_scanned(tmp_path):
    write_own(tmp_path / "flat", ["a", "b"])
    (tmp_path / "flat/labels/b.png").unlink()
    scan = scan_every_split(tmp_path / "flat")["all"]
    assert (len(scan.samples), len(scan.problems)) == (1, 1)
    write_own(tmp_path / "parted", ["train/a", "val/b"])
    assert sorted(scan_every_split(tmp_path / "parted")) == ["train", "val"]
