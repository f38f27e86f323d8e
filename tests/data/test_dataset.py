import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from data_files import write_cityscapes
from torch.utils.data import DataLoader

from ddrnet.data import Cityscapes, SegmentationDataset, train_transform
from ddrnet.labels import class_labels

TRANSFORM = train_transform((16, 24), color_jitter=0.3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"), {"train": {"aachen": 7}})


def two_epochs(root, workers, **options):
    dataset = Cityscapes(root, transforms=TRANSFORM, label_dtype=torch.uint8, **options)
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=[3, 0, 6, 2, 5, 1, 4],
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    batches = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        batches += [torch.cat([images.flatten(), labels.flatten()]) for images, labels in loader]
    return batches


def test_any_number_of_workers_gives_the_same_samples(root, tmp_path):
    alone = two_epochs(root, 0)
    assert not torch.equal(alone[0], alone[4])
    for workers, options in [(1, {}), (3, {}), (3, {"cache_dir": tmp_path})]:
        for mine, theirs in zip(alone, two_epochs(root, workers, **options), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_persistent_workers_see_the_epoch(root):
    dataset = Cityscapes(root, transforms=TRANSFORM)
    loader = DataLoader(dataset, num_workers=1, persistent_workers=True)
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        for index, (images, labels) in enumerate(loader):
            expected = dataset[index]
            torch.testing.assert_close((images[0], labels[0]), expected, rtol=0, atol=0)


def test_a_sample_depends_on_seed_epoch_and_index_alone(root):
    dataset = Cityscapes(root, transforms=TRANSFORM, seed=3)
    first = dataset[4][0]
    torch.rand(7)
    for index in (2, 6):
        dataset[index]
    torch.testing.assert_close(dataset[4][0], first, rtol=0, atol=0)
    assert not torch.equal(Cityscapes(root, transforms=TRANSFORM, seed=4)[4][0], first)
    dataset.set_epoch(9)
    assert dataset.epoch == 9
    assert not torch.equal(dataset[4][0], first)


def test_sampling_leaves_the_random_state_as_it_was(root):
    dataset = Cityscapes(root, transforms=TRANSFORM)
    before = torch.get_rng_state()
    dataset[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sampling_never_touches_an_accelerator(root):
    """Or each loader process would start CUDA."""
    code = """
import sys, torch
from ddrnet.data import Cityscapes, train_transform
Cityscapes(sys.argv[1], transforms=train_transform((16, 24)))[0]
sys.exit(torch.cuda.is_initialized())
"""
    subprocess.run([sys.executable, "-c", code, root], check=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_label_types(root, dtype):
    reference = Cityscapes(root)[0][1]
    labels = Cityscapes(root, label_dtype=dtype)[0][1]
    assert labels.dtype == dtype
    assert torch.equal(labels.long(), reference)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float32, torch.bool])
def test_label_types_without_255_are_refused(root, dtype):
    with pytest.raises(ValueError, match="label_dtype must be one of"):
        Cityscapes(root, label_dtype=dtype)


def test_indices_as_in_a_list(root):
    dataset = Cityscapes(root, transforms=TRANSFORM)
    torch.testing.assert_close(dataset[-1], dataset[6], rtol=0, atol=0)
    assert len(list(dataset)) == 7
    with pytest.raises(IndexError):
        dataset[7]


def test_a_pickled_copy_gives_the_same_samples(root):
    dataset = Cityscapes(root, transforms=TRANSFORM)
    dataset.set_epoch(2)
    copy = pickle.loads(pickle.dumps(dataset))
    torch.testing.assert_close(copy[1], dataset[1], rtol=0, atol=0)


class Noise(SegmentationDataset):
    """A data set of the base class: images drawn from the seeded generator."""

    def __len__(self):
        return 3

    def read(self, index):
        return torch.randint(256, (3, 4, 5), dtype=torch.uint8), torch.full((4, 5), index).byte()


def test_own_data_sets_need_two_methods():
    dataset = Noise(class_labels(["a", "b", "c"]))
    torch.testing.assert_close(dataset[1], dataset[1], rtol=0, atol=0)
    assert not torch.equal(dataset[1][0], dataset[2][0])
    assert dataset[2][1].unique().tolist() == dataset.read_labels(2).unique().tolist() == [2]


def test_labels_are_read_alone(root):
    dataset = Cityscapes(root)
    np.testing.assert_array_equal(dataset.read_labels(3), dataset[3][1])
