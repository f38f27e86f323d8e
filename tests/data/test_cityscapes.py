import zipfile

import numpy as np
import pytest
import torch
from data_files import save_png, write_cityscapes
from references import map_ids_one_by_one

from ddrnet.data import Cityscapes
from ddrnet.errors import DatasetError
from ddrnet.labels import CITYSCAPES

COUNTS = {"train": {"aachen": 2, "bremen": 3}, "val": {"lindau": 2}, "test": {"berlin": 2}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"), COUNTS)


@pytest.mark.parametrize(
    ("split", "count"), [("train", 5), ("val", 2), ("trainval", 7), ("test", 2)]
)
def test_splits(root, split, count):
    dataset = Cityscapes(root, split)
    image, labels = dataset[count - 1]
    assert len(dataset) == count
    assert dataset.classes == CITYSCAPES.classes
    assert dataset.ignore_index == 255
    assert (image.shape, image.dtype) == ((3, 24, 40), torch.uint8)
    assert (labels.shape, labels.dtype) == ((24, 40), torch.int64)
    assert type(image) is type(labels) is torch.Tensor


def test_names_and_files_of_samples(root):
    names = [sample.name for sample in Cityscapes(root, "train").samples]
    assert names[0] == "aachen_000000_000019"
    assert names == sorted(names)
    sample = Cityscapes(root, "val").samples[1]
    assert sample.image.name == "lindau_000001_000019_leftImg8bit.png"
    assert sample.labels.name == "lindau_000001_000019_gtFine_labelIds.png"


def test_torchvision_finds_the_same_files_and_labels(root):
    datasets = pytest.importorskip("torchvision.datasets")
    for split in ("train", "val"):
        theirs = datasets.Cityscapes(root, split, mode="fine", target_type="semantic")
        theirs = dict(zip(theirs.images, theirs, strict=True))
        ours = Cityscapes(root, split)
        assert {str(sample.image) for sample in ours.samples} == theirs.keys()
        for sample, (image, labels) in zip(ours.samples, ours, strict=True):
            their_image, ids = theirs[str(sample.image)]
            np.testing.assert_array_equal(image.permute(1, 2, 0), their_image)
            np.testing.assert_array_equal(labels, map_ids_one_by_one(np.asarray(ids)))


def test_test_labels_are_all_ignored(root):
    assert Cityscapes(root, "test")[0][1].unique().tolist() == [255]


def test_train_id_files_are_read_where_there_are_no_label_ids(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 2}}, suffix="labelTrainIds")
    dataset = Cityscapes(tmp_path)
    assert dataset[0][1].max() == 18
    folder = tmp_path / "gtFine/train/aachen"
    save_png(folder / "aachen_000001_000019_gtFine_labelIds.png", np.full((24, 40), 7))
    assert Cityscapes(tmp_path)[1][1].unique().tolist() == [0]
    save_png(folder / "aachen_000000_000019_gtFine_labelTrainIds.png", np.full((24, 40), 19))
    with pytest.raises(DatasetError, match="train ids does not have: 19; expected 0-18, 255"):
        Cityscapes(tmp_path)[0]


def test_coarse_annotations(tmp_path):
    counts = {"train": {"aachen": 1}, "train_extra": {"troisdorf": 2}}
    write_cityscapes(tmp_path, counts, kind="gtCoarse")
    assert len(Cityscapes(tmp_path, "train", annotations="coarse")) == 1
    extra = Cityscapes(tmp_path, "train_extra")
    assert extra.samples[0].labels.name == "troisdorf_000000_000019_gtCoarse_labelIds.png"
    assert len(extra) == 2


@pytest.mark.parametrize(
    ("split", "annotations"),
    [("train_extra", "fine"), ("test", "coarse"), ("train", "rough"), ("all", None)],
)
def test_what_does_not_exist_is_refused(root, split, annotations):
    with pytest.raises(ValueError, match=r"no '\w+' annotations|split must be one of"):
        Cityscapes(root, split, annotations=annotations)


def test_images_of_any_size(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 1}}, size=(7, 11))
    write_cityscapes(tmp_path, {"train": {"bremen": 1}}, size=(30, 5))
    assert [image.shape[1:] for image, _ in Cityscapes(tmp_path)] == [(7, 11), (30, 5)]


def test_a_missing_root_says_so(tmp_path):
    with pytest.raises(DatasetError) as error:
        Cityscapes(tmp_path / "nowhere", "val")
    assert "leftImg8bit/val/CITY/CITY_000000_000000_leftImg8bit.png" in str(error.value)
    assert "gtFine/val/CITY/CITY_000000_000000_gtFine_labelIds.png" in str(error.value)
    assert "nowhere does not exist" in str(error.value)


def test_a_download_still_packed_is_shown(tmp_path):
    with zipfile.ZipFile(tmp_path / "leftImg8bit_trainvaltest.zip", "w"):
        pass
    write_cityscapes(tmp_path, {"train": {"aachen": 1}})
    with pytest.raises(DatasetError, match=r"(?s)no images in .*leftImg8bit_trainvaltest\.zip"):
        Cityscapes(tmp_path, "val")


def test_images_without_labels_and_labels_without_images_are_named(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 9}})
    for label_file in (tmp_path / "gtFine/train/aachen").glob("*_00000[0-6]_*"):
        label_file.unlink()
    (tmp_path / "leftImg8bit/train/aachen/aachen_000008_000019_leftImg8bit.png").unlink()
    with pytest.raises(DatasetError) as error:
        Cityscapes(tmp_path)
    assert "aachen_000000_000019_leftImg8bit.png has no labels" in str(error.value)
    assert "and 3 more" in str(error.value)
    assert "gtFine/: train/" in str(error.value)


def test_labels_never_unpacked(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 1}})
    (tmp_path / "gtFine").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"no labels in .*gtFine/train(?s:.*)elsewhere/: train/"):
        Cityscapes(tmp_path)


def test_files_that_a_mac_leaves_behind_are_passed_over(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 1}})
    hidden = "leftImg8bit/train/aachen/._aachen_000000_000019_leftImg8bit.png"
    (tmp_path / hidden).write_bytes(b"\0\5\26\7")
    assert len(Cityscapes(tmp_path)) == 1
