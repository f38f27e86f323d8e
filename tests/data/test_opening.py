import numpy as np
import pytest
from data_files import save_png, write_cityscapes, write_own

from ddrnet.data import CamVid, Cityscapes, open_dataset
from ddrnet.data.opening import scan_every_split
from ddrnet.errors import DatasetError


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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "holdout"}, r"no split 'holdout', only train, val\."),
        ({"split": "classes"}, "no split 'classes'"),
        ({"val_fraction": 0.1}, "has the splits train, val already"),
        ({"kind": "voc"}, "kind must be one of"),
    ],
)
def test_contradictions_are_told(tmp_path, options, says):
    write_own(tmp_path, ["train/a", "val/b"])
    with pytest.raises(ValueError, match=says):
        open_dataset(tmp_path, **options)


def test_a_fraction_divides_own_data_only(tmp_path):
    write_cityscapes(tmp_path, {"val": {"ulm": 1}})
    with pytest.raises(ValueError, match="is cityscapes, which has splits"):
        open_dataset(tmp_path, val_fraction=0.1)


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_of_no_known_layout_is_refused(tmp_path, folder):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DatasetError, match=r"(?s)no known layout.*leftImg8bit.*images/NAME"):
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


def test_cityscapes_without_a_split_is_refused(tmp_path):
    (tmp_path / "leftImg8bit/validation").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"(?s)leftImg8bit has no split.*leftImg8bit/val/CITY"):
        scan_every_split(tmp_path)


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
