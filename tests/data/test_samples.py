import numpy as np
import pytest
import torch
from data_files import save_png, write_cityscapes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from references import map_ids_one_by_one

from ddrnet.data import Cityscapes
from ddrnet.data.samples import Sample, read_labels, read_sample, unreadable
from ddrnet.errors import DatasetError
from ddrnet.labels import CAMVID_RAW, CITYSCAPES, ClassLabel, LabelTable, class_labels

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
IDS = RNG.integers(0, 34, (6, 9), dtype=np.uint8)


def sample(folder, labels, table=CITYSCAPES, image=IMAGE):
    return Sample(
        "one", save_png(folder / "image.png", image), save_png(folder / "labels.png", labels), table
    )


def test_ids_become_train_ids(tmp_path):
    image, labels = read_sample(sample(tmp_path, IDS))
    assert image.dtype == labels.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0), IMAGE)
    np.testing.assert_array_equal(labels, map_ids_one_by_one(IDS))


@given(seed=st.integers(0, 99))
def test_colors_become_train_ids(tmp_path_factory, seed):
    rows = np.random.default_rng(seed).integers(0, 32, (6, 9))
    colors = np.array([row.color for row in CAMVID_RAW.rows])[rows]
    train_ids = np.array([row.train_id for row in CAMVID_RAW.rows])[rows]
    labels = read_labels(sample(tmp_path_factory.getbasetemp(), colors, CAMVID_RAW))
    np.testing.assert_array_equal(labels, train_ids)


def test_no_label_file_reads_as_ignored(tmp_path):
    unlabelled = sample(tmp_path, IDS)._replace(labels=None)
    assert read_sample(unlabelled)[1].tolist() == [[255] * 9] * 6


def test_unknown_ids_are_named_with_their_file(tmp_path):
    ids = IDS.copy()
    ids[2, 3], ids[4, 4] = 34, 77
    with pytest.raises(
        DatasetError, match=r"labels\.png.*Cityscapes.*: 34, 77; expected 0-33, 255"
    ):
        read_sample(sample(tmp_path, ids))


def test_many_unknown_ids_are_counted(tmp_path):
    ids = np.arange(100, 154, dtype=np.uint8).reshape(6, 9)
    with pytest.raises(DatasetError, match=r"100, 101, .* and 44 more"):
        read_labels(sample(tmp_path, ids))


def test_16_bit_ids_are_checked_before_they_are_cut_to_8(tmp_path):
    table = LabelTable("own", class_labels(["a", "b"]))
    good = sample(tmp_path, IDS, table)
    Image.fromarray((IDS % 2).astype(np.uint16)).save(good.labels)
    np.testing.assert_array_equal(read_labels(good), IDS % 2)
    Image.fromarray((IDS % 2).astype(np.uint16) + 256).save(good.labels)
    with pytest.raises(DatasetError, match=r"256, 257; expected 0-1, 255"):
        read_labels(good)


def test_binary_masks_of_0_and_255(tmp_path):
    rows = class_labels(["background", ClassLabel("object", (9, 9, 9), id=255)])
    mask = np.where(IDS > 16, 255, 0)
    labels = read_labels(sample(tmp_path, mask, LabelTable("masks", rows)))
    np.testing.assert_array_equal(labels, IDS > 16)


def test_unknown_colors_are_named_with_their_file(tmp_path):
    colors = np.zeros((6, 9, 3), np.uint8)
    colors[1, 1] = 1, 2, 3
    with pytest.raises(DatasetError, match=r"labels\.png holds colours .*\(1, 2, 3\); .* 32 rows"):
        read_labels(sample(tmp_path, colors, CAMVID_RAW))


def test_different_sizes_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"image\.png is 9 x 6, .*labels\.png is 9 x 5"):
        read_sample(sample(tmp_path, IDS[:5]))


@pytest.mark.parametrize("broken", ["image", "labels"])
@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"", "is empty")])
def test_missing_and_empty_files_are_named(tmp_path, broken, content, says):
    good = sample(tmp_path, IDS)
    path = getattr(good, broken)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{says}.*{broken}\.png|{broken}\.png.*{says}"):
        read_sample(good)


def test_everything_unreadable_is_reported_once(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 6}})
    samples = Cityscapes(tmp_path, "train").samples
    samples[0].image.write_bytes(b"")
    samples[2].labels.write_bytes(samples[2].labels.read_bytes()[:80])
    save_png(samples[3].labels, np.full((24, 40), 99))
    save_png(samples[5].image, np.zeros((9, 9, 3)))
    problems = list(unreadable(samples))
    assert len(problems) == 4
    for problem, sample in zip(problems, (samples[i] for i in (0, 2, 3, 5)), strict=True):
        assert sample.name in problem
