import numpy as np
import pytest
from data_files import save_png, write_cityscapes

from ddrnet.data.checking import scan_tree, unreadable
from ddrnet.errors import DatasetError


def test_every_split_of_cityscapes_is_scanned(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 2}, "test": {"bonn": 1}})
    write_cityscapes(tmp_path, {"train_extra": {"erlangen": 1}}, kind="gtCoarse")
    (tmp_path / "gtFine/val/lindau").mkdir(parents=True)
    scans = scan_tree(tmp_path)
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
    scans = scan_tree(tmp_path)
    assert {name: len(scan.problems) for name, scan in scans.items()} == {"train": 2, "val": 2}


def test_the_original_camvid_is_scanned(tmp_path):
    save_png(tmp_path / "701_StillsRaw_full/Seq05VD_f00000.png", np.zeros((2, 2, 3)))
    save_png(tmp_path / "LabeledApproved_full/Seq05VD_f00000_L.png", np.zeros((2, 2, 3)))
    assert len(scan_tree(tmp_path)["test"].samples) == 1


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_of_no_known_layout_is_refused(tmp_path, folder):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DatasetError, match=r"(?s)no layout that is known.*leftImg8bit.*train\.txt"):
        scan_tree(tmp_path / folder)


def test_everything_unreadable_is_reported_once(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 6}})
    samples = scan_tree(tmp_path)["train, fine"].samples
    samples[0].image.write_bytes(b"")
    samples[2].labels.write_bytes(samples[2].labels.read_bytes()[:80])
    save_png(samples[3].labels, np.full((24, 40), 99))
    save_png(samples[5].image, np.zeros((9, 9, 3)))
    problems = list(unreadable(samples))
    assert len(problems) == 4
    for problem, sample in zip(problems, (samples[i] for i in (0, 2, 3, 5)), strict=True):
        assert sample.name in problem
