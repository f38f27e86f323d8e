import os
from pathlib import Path

import numpy as np
import pytest
from data_files import save_png

from ddrnet.data import CamVid
from ddrnet.errors import DatasetError
from ddrnet.labels import CAMVID, CAMVID_RAW

RNG = np.random.default_rng(0)

# Source: the table of the classes in the README beside the images
PIXELS = {
    "train": {
        "Sky": 10682767, "Building": 14750079, "Pole": 623349, "Road": 20076880,
        "Pavement": 2845085, "Tree": 6166762, "SignSymbol": 743859, "Fence": 714595,
        "Car": 3719877, "Pedestrian": 405385, "Bicyclist": 184967, "Unlabelled": 2503995,
    },
    "val": {
        "Sky": 1601620, "Building": 4531180, "Pole": 98499, "Road": 5053176,
        "Pavement": 1521751, "Tree": 2851125, "SignSymbol": 155724, "Fence": 537197,
        "Car": 304716, "Pedestrian": 113531, "Bicyclist": 387010, "Unlabelled": 297271,
    },
}  # fmt: skip


@pytest.mark.skipif("DDRNET_CAMVID" not in os.environ, reason="DDRNET_CAMVID names no folder")
@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
def test_the_real_camvid(split, count):
    dataset = CamVid(os.environ["DDRNET_CAMVID"], split)
    assert len(dataset) == count
    pixels = np.zeros(256, np.int64)
    for image, labels in dataset:
        assert image.shape == (3, 360, 480)
        pixels += np.bincount(labels.flatten(), minlength=256)
    assert dict(zip(PIXELS[split], pixels[[*range(11), 255]], strict=True)) == PIXELS[split]


def segnet_tree(root, counts):
    for split, count in counts.items():
        lines = []
        for number in range(count):
            name = f"0001TP_{number:06d}.png"
            save_png(root / split / name, RNG.integers(0, 256, (9, 12, 3)))
            save_png(root / f"{split}annot" / name, RNG.integers(0, 12, (9, 12)))
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def test_the_segnet_release(tmp_path):
    segnet_tree(tmp_path, {"train": 3, "val": 2})
    dataset = CamVid(tmp_path)
    assert [sample.name for sample in dataset.samples][:2] == ["0001TP_000000", "0001TP_000001"]
    assert dataset.classes == CAMVID.classes
    assert len(dataset.classes) == 11
    labels = np.concatenate([labels.numpy().ravel() for _, labels in dataset])
    assert set(labels) == {*range(11), 255}
    assert len(CamVid(tmp_path, "trainval")) == 5


def test_with_and_without_a_test_split(tmp_path):
    segnet_tree(tmp_path, {"train": 1, "val": 1})
    with pytest.raises(DatasetError, match=r"no complete CamVid split 'test'(?s:.*)no list"):
        CamVid(tmp_path, "test")
    segnet_tree(tmp_path, {"test": 4})
    assert len(CamVid(tmp_path, "test")) == 4


def test_listed_files_that_are_missing_are_named(tmp_path):
    segnet_tree(tmp_path, {"train": 3})
    (tmp_path / "trainannot/0001TP_000001.png").unlink()
    with pytest.raises(DatasetError, match=r"trainannot/0001TP_000001\.png is missing"):
        CamVid(tmp_path)


@pytest.mark.parametrize("text", ["", "one two three\n", "only-one\n"])
def test_a_broken_list_is_refused(tmp_path, text):
    segnet_tree(tmp_path, {"train": 1})
    Path(tmp_path / "train.txt").write_text(text)
    with pytest.raises(DatasetError, match=r"train\.txt does not list pairs"):
        CamVid(tmp_path)


RAW = {
    "0001TP_006690": "train", "0001TP_008520": "train", "0001TP_008550": "test",
    "0006R0_f00930": "train", "0016E5_00390": "train", "0016E5_07920": "train",
    "0016E5_07959": "val", "0016E5_08159": "val", "0016E5_08190": "train",
    "Seq05VD_f00000": "test", "Seq05VD_f05100": "test",
}  # fmt: skip


def raw_tree(root):
    colors = np.array([row.color for row in CAMVID_RAW.rows])
    for name in RAW:
        save_png(root / f"701_StillsRaw_full/{name}.png", RNG.integers(0, 256, (9, 12, 3)))
        labels = colors[RNG.integers(0, 32, (9, 12))]
        save_png(root / f"LabeledApproved_full/{name}_L.png", labels)
    return root


def test_the_original_release(tmp_path):
    raw_tree(tmp_path)
    for split in ("train", "val", "test"):
        dataset = CamVid(tmp_path, split)
        assert {sample.name for sample in dataset.samples} == {n for n in RAW if RAW[n] == split}
        assert dataset.classes == CAMVID.classes
        values = {value for _, labels in dataset for value in labels.unique().tolist()}
        assert values == {*range(11), 255}


@pytest.mark.skipif("DDRNET_CAMVID" not in os.environ, reason="DDRNET_CAMVID names no folder")
@pytest.mark.parametrize("split", ["train", "val"])
def test_names_of_the_original_release_fall_into_the_listed_splits(tmp_path, split):
    names = [sample.name for sample in CamVid(os.environ["DDRNET_CAMVID"], split).samples]
    for name in names:
        save_png(tmp_path / f"701_StillsRaw_full/{name}.png", np.zeros((1, 1, 3)))
        save_png(tmp_path / f"LabeledApproved_full/{name}_L.png", np.zeros((1, 1, 3)))
    assert [sample.name for sample in CamVid(tmp_path, split).samples] == names


def test_half_of_the_original_release(tmp_path):
    raw_tree(tmp_path)
    (tmp_path / "LabeledApproved_full/0016E5_07959_L.png").unlink()
    with pytest.raises(DatasetError, match=r"0016E5_07959\.png has no labels"):
        CamVid(tmp_path, "val")
    assert len(CamVid(tmp_path, "train")) == 6


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="split must be one of"):
        CamVid(tmp_path, "all")
