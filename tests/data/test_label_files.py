import numpy as np
import pytest
import torch
from data_files import save_png, write_cityscapes
from PIL import Image

from ddrnet.data import CamVid, Cityscapes, SegmentationFolder, SyntheticStreets
from ddrnet.data.label_files import LabelFiles
from ddrnet.labels import CITYSCAPES, ClassLabel, class_labels

RNG = np.random.default_rng(0)


def test_cityscapes_gets_label_ids_under_the_official_names(tmp_path):
    dataset = Cityscapes(write_cityscapes(tmp_path / "data", {"val": {"lindau": 2}}), "val")
    files = LabelFiles(tmp_path / "out", dataset, dataset.classes)
    labels = torch.from_numpy(RNG.integers(0, 19, (24, 40)))
    files.write(1, labels)
    path = tmp_path / "out" / "lindau_000001_000019_pred_labelIds.png"
    with Image.open(path) as image:
        assert image.mode == "L"
        ids = np.array([row.id for row in CITYSCAPES.classes])
        np.testing.assert_array_equal(image, ids[labels])
    np.testing.assert_array_equal(files.read(1), labels)
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_gets_its_own_values_and_subfolders(tmp_path):
    save_png(tmp_path / "images/a/b.png", np.zeros((8, 8, 3)))
    save_png(tmp_path / "labels/a/b.png", np.zeros((8, 8)))
    rows = [ClassLabel("ground", (1, 2, 3), id=0), ClassLabel("thing", (4, 5, 6), id=255)]
    dataset = SegmentationFolder(tmp_path / "images", tmp_path / "labels", rows)
    LabelFiles(tmp_path / "out", dataset, dataset.classes).write(0, torch.eye(8).long())
    predicted = SegmentationFolder(tmp_path / "images", tmp_path / "out", rows)
    assert torch.equal(predicted[0][1], torch.eye(8).long())


def test_camvid_keeps_the_names_of_its_images(tmp_path):
    for name in ("val/x_1.png", "valannot/x_1.png"):
        save_png(tmp_path / name, np.zeros((8, 8, 3) if name.startswith("val/") else (8, 8)))
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/x_1.png /SegNet/CamVid/valannot/x_1.png")
    dataset = CamVid(tmp_path, "val")
    files = LabelFiles(tmp_path / "out", dataset, dataset.classes)
    files.write(0, torch.full((8, 8), 10))
    assert files.path(0) == tmp_path / "out" / "x_1.png"
    assert (files.read(0) == 10).all()


@pytest.mark.parametrize("dataset", [SyntheticStreets(3, (32, 32)), [1, 2, 3]])
def test_samples_without_a_name_are_numbered(tmp_path, dataset):
    files = LabelFiles(tmp_path, dataset, class_labels(["a", "b"]))
    files.write(2, torch.ones(4, 4, dtype=torch.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["000002.png"]


@pytest.mark.parametrize("kind", ["images", "labels", "link"])
def test_files_of_the_data_set_are_never_overwritten(tmp_path, kind):
    save_png(tmp_path / "images/a.png", np.zeros((8, 8, 3)))
    save_png(tmp_path / "labels/a.png", np.zeros((8, 8)))
    (tmp_path / "link").symlink_to(tmp_path / "labels")
    dataset = SegmentationFolder(tmp_path / "images", tmp_path / "labels", ["a", "b"])
    with pytest.raises(ValueError, match=rf"would overwrite .*{kind}/a\.png .* another folder"):
        LabelFiles(tmp_path / kind, dataset, dataset.classes)


def test_more_classes_than_a_label_file_holds_raise(tmp_path):
    with pytest.raises(ValueError, match="at most 256 classes, got 257"):
        LabelFiles(tmp_path, [], class_labels([f"c{k}" for k in range(257)]))
