import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from ddrnet.data import SyntheticStreets
from ddrnet.labels import CITYSCAPES


@pytest.fixture(scope="module")
def samples():
    """Sixty small scenes."""
    return list(SyntheticStreets(60, size=(128, 256), seed=3))


def share(labels, name):
    return (labels == [row.name for row in CITYSCAPES.classes].index(name)).float().mean().item()


def test_a_sample_is_an_image_with_labels():
    dataset = SyntheticStreets(3, size=(96, 200))
    image, labels = dataset[1]
    assert (image.shape, image.dtype) == ((3, 96, 200), torch.uint8)
    assert (labels.shape, labels.dtype) == ((96, 200), torch.int64)
    assert dataset.classes == CITYSCAPES.classes
    assert dataset.ignore_index == 255
    assert len(dataset) == 3
    assert SyntheticStreets(1, (64, 64), label_dtype=torch.uint8)[0][1].dtype == torch.uint8


@given(st.integers(32, 200), st.integers(32, 200), st.integers(0, 10**6))
def test_any_size_gives_just_that_size(height, width, seed):
    image, labels = SyntheticStreets(1, size=(height, width), seed=seed)[0]
    assert image.shape[1:] == labels.shape == (height, width)
    assert set(labels.unique().tolist()) <= {*range(19), 255}


def test_every_class_appears(samples):
    often = np.array([[(labels == c).any() for c in range(19)] for _, labels in samples]).mean(0)
    rare = {CITYSCAPES.classes[c].name: s for c, s in enumerate(often.tolist()) if s < 0.1}
    assert not rare


def test_a_street_looks_like_a_street(samples):
    labels = torch.stack([labels for _, labels in samples])
    assert 0.15 < share(labels, "road") < 0.45
    assert share(labels[:, -40:-20, 96:160], "road") > 0.6
    assert share(labels[:, :8], "road") == 0
    assert share(labels[:, 110:], "sky") == 0
    assert share(labels[:, :20, 96:160], "sky") > share(labels[:, 40:60, 96:160], "sky")
    assert 0 < (labels == 255).float().mean() < 0.05


def test_pictures_are_neither_flat_nor_saturated(samples):
    images = torch.stack([image for image, _ in samples]).float()
    means, spreads = images.mean((1, 2, 3)), images.std((1, 2, 3))
    assert means.min() > 50
    assert means.max() < 200
    assert spreads.min() > 20
    assert means.std() > 5


def test_colour_alone_does_not_tell_the_class(samples):
    """A table from quantised colour to the most frequent class knows a street badly."""
    images = torch.stack([image for image, _ in samples])
    labels = torch.stack([labels for _, labels in samples]).flatten()
    r, g, b = (images // 16).long().permute(1, 0, 2, 3).flatten(1)
    counts = torch.zeros(16**3, 256, dtype=torch.int64)
    counts.index_put_((r * 256 + g * 16 + b, labels), torch.tensor(1), accumulate=True)
    guessed = counts[:, :19].argmax(1)[r * 256 + g * 16 + b]
    ious = [
        ((guessed == c) & (labels == c)).sum()
        / ((guessed == c) | (labels == c))[labels < 255].sum()
        for c in range(19)
    ]
    assert torch.stack(ious).mean() < 0.3


def test_scenes_follow_from_seed_and_index_alone():
    first, again = (SyntheticStreets(4, (64, 128), seed=5) for _ in range(2))
    first.set_epoch(3)
    for index in (2, 0, 3):
        assert all(map(torch.equal, first[index], again[index]))
    longer = SyntheticStreets(9, (64, 128), seed=5)
    assert all(map(torch.equal, longer[3], again[3]))
    assert all(map(torch.equal, longer[-6], again[3]))
    assert not torch.equal(again[0][1], again[1][1])
    assert not torch.equal(again[0][1], SyntheticStreets(1, (64, 128), seed=6)[0][1])


def test_global_generators_neither_matter_nor_change():
    dataset = SyntheticStreets(1, (64, 128))
    image, _ = dataset[0]
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(dataset[0][0], image)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_another_process_renders_the_same_bytes():
    code = (
        "import hashlib; from ddrnet.streets.render import render_street;"
        "scene = render_street((96, 160), seed=1, index=7);"
        "bytes = scene.image.tobytes() + scene.ids().tobytes();"
        "print(hashlib.sha256(bytes).hexdigest())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_same_samples(workers):
    crop = v2.RandomCrop(48)
    dataset = SyntheticStreets(6, (64, 96), seed=2, transforms=crop)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        for (image, labels), (own_image, own_labels) in zip(loader, dataset, strict=True):
            assert torch.equal(image, own_image)
            assert torch.equal(labels, own_labels)


def test_transforms_choose_anew_in_each_epoch():
    dataset = SyntheticStreets(1, (64, 96), transforms=v2.RandomCrop(32))
    before = dataset[0][0]
    dataset.set_epoch(1)
    assert not torch.equal(dataset[0][0], before)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"size": (31, 64)}, "from 32 up"),
        ({"size": (64, 64.0)}, "integers"),
        ({"length": -1}, "must not be negative"),
        ({"label_dtype": torch.float32}, "label_dtype"),
    ],
)
def test_wrong_arguments_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        SyntheticStreets(**{"length": 1, **arguments})


def test_there_is_no_scene_beyond_the_length():
    with pytest.raises(IndexError):
        SyntheticStreets(2, (32, 32))[2]
