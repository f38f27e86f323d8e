import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from references import resize_then_crop
from torchvision import tv_tensors
from torchvision.transforms import v2

from ddrnet.data import Normalize, RandomScaleCrop, eval_transform, train_transform
from ddrnet.weights.row import IMAGENET

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def sample(height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 19, (height, width), dtype=np.uint8))
    return tv_tensors.Image(image), tv_tensors.Mask(labels)


@given(size=SIZES, crop=SIZES, scale=st.floats(0.2, 4))
def test_any_image_gives_a_crop_of_the_size_asked_for(size, crop, scale):
    image, labels = RandomScaleCrop(crop, (scale, scale))(*sample(*size))
    assert (image.shape, image.dtype) == ((3, *crop), torch.uint8)
    assert (labels.shape, labels.dtype) == (crop, torch.uint8)
    assert type(image) is tv_tensors.Image
    assert type(labels) is tv_tensors.Mask


@given(size=SIZES, crop=SIZES, scale=st.floats(0.25, 2, width=32))
def test_padding_lies_below_and_right_in_image_and_labels_alike(size, crop, scale):
    image, labels = sample(*size)
    image, labels = RandomScaleCrop(crop, (scale, scale))(image.fill_(9), labels)
    height, width = (
        min(crop[axis], max(1, round(size[axis] * scale))) for axis in range(len(size))
    )
    inside = torch.zeros(crop, dtype=torch.bool)
    inside[:height, :width] = True
    assert torch.equal(labels != 255, inside)
    assert torch.equal(image, torch.where(inside, 9, 114).byte().expand(3, -1, -1))


@pytest.mark.parametrize(
    ("factor", "crop"), [(0.5, (4, 6)), (1, (5, 7)), (2, (12, 18)), (3, (12, 15))]
)
def test_a_crop_is_that_of_the_resized_image(factor, crop):
    """The window lies on whole pixels of both images; the outermost source pixel is left out."""
    image, _ = sample(12, 20)
    places = torch.arange(240, dtype=torch.uint8).view(12, 20)
    size = int(20 * factor), int(12 * factor)
    whole = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BILINEAR)
    edge = max(1, round(factor))
    inner = (slice(edge, -edge), slice(edge, -edge))
    compared = 0
    for _ in range(20):
        cropped, labels = RandomScaleCrop(crop, (factor, factor))(image, places)
        centre = 1 if factor == 0.5 else 0  # of two source pixels the label is the second's
        top, left = (factor * (place - centre) for place in divmod(int(labels[0, 0]), 20))
        if top % 1 == left % 1 == 0:
            expected = np.asarray(whole)[int(top) :, int(left) :][: crop[0], : crop[1]]
            difference = cropped.permute(1, 2, 0).numpy().astype(int) - expected
            assert np.abs(difference[inner]).max() <= 1
            compared += 1
    assert compared > 2


def spans(crop_of, axis, count=800):
    """First source pixel and number of source pixels of many crops, along one axis."""
    places = np.arange(90, dtype=np.uint8)
    labels = np.ascontiguousarray(
        np.broadcast_to(places[:, None] if axis == 0 else places, (90, 90))
    )
    image = np.zeros((90, 90, 3), np.uint8)
    found = []
    for _ in range(count):
        line = np.asarray(crop_of(image, labels)).min(axis=1 - axis)
        inside = line[line != 255].astype(int)
        found.append((inside[0], inside[-1] - inside[0] + 1, len(inside)))
    return np.array(found).T


def kolmogorov_smirnov(one, other):
    """The largest distance between the distribution functions of two samples."""
    places = np.union1d(one, other)
    ranks = [np.searchsorted(np.sort(s), places, "right") / len(s) for s in (one, other)]
    return np.abs(ranks[0] - ranks[1]).max()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("crop", [(64, 64), (40, 100)])
def test_crops_are_distributed_like_those_of_resize_then_crop(axis, crop):
    transform = RandomScaleCrop(crop, (0.5, 2.0))
    rng = random.Random(0)

    def ours(image, labels):
        return transform(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels))[1]

    def theirs(image, labels):
        return resize_then_crop(image, labels, crop, (0.5, 2.0), rng)[1]

    limit = 1.95 * (2 / 800) ** 0.5  # passed by chance once in 1000
    for mine, reference in zip(spans(ours, axis), spans(theirs, axis), strict=True):
        assert kolmogorov_smirnov(mine, reference) < limit


@given(width=st.integers(24, 120), scale=st.floats(0.4, 3), crop=st.integers(24, 100))
def test_image_and_labels_stay_aligned(width, scale, crop):
    ramp = torch.arange(width, dtype=torch.uint8).expand(24, -1)
    image, labels = RandomScaleCrop((24, crop), (scale, scale))((2 * ramp).expand(3, -1, -1), ramp)
    inside = labels[0] != 255
    source = labels[0][inside].double()
    inner = (source > source.min() + 2) & (source < source.max() - 2)
    difference = (image[0, 0][inside].double() / 2 - source)[inner]
    assert difference.numel() == 0 or difference.abs().max() <= 0.5 + 0.25
    assert difference.numel() < 16 or abs(difference.mean()) < 0.3


def test_aligned_without_a_shift_of_half_a_pixel():
    ramp = torch.arange(60, dtype=torch.uint8).expand(24, -1)
    image, labels = RandomScaleCrop((24, 120), (2, 2))((4 * ramp).expand(3, -1, -1), ramp)
    difference = image[0, 0].double() / 4 - labels[0].double()
    assert difference[2:-2].abs().max() == 0.25
    assert difference[2:-2].mean() == 0


def test_max_class_share_is_kept_where_it_can_be():
    labels = torch.zeros(40, 200, dtype=torch.uint8)
    labels[:, 100:] = torch.arange(100, dtype=torch.uint8) % 4
    labels[:20, 100:] = 255  # ignored pixels do not count
    image = torch.zeros(3, 40, 200, dtype=torch.uint8)
    shares = []
    for limit in (None, 0.5):
        transform = RandomScaleCrop((40, 40), (1, 1), max_class_share=limit)
        crops = [transform(image, labels)[1] for _ in range(200)]
        counts = [crop[crop < 255].long().bincount() for crop in crops]
        shares.append(np.mean([int(c.max()) > 0.5 * int(c.sum()) for c in counts]))
    assert shares[0] > 0.5
    assert shares[1] < 0.02


@pytest.mark.parametrize("value", [0, 255])
def test_max_class_share_that_cannot_be_kept_crops_all_the_same(value):
    labels = torch.full((40, 40), value, dtype=torch.uint8)
    transform = RandomScaleCrop(16, max_class_share=0.75)
    assert transform(torch.zeros(3, 40, 40, dtype=torch.uint8), labels)[1].shape == (16, 16)


def test_image_and_labels_are_flipped_together():
    labels = torch.arange(32, dtype=torch.uint8).expand(32, -1).contiguous()
    transform = train_transform(32, scale=(1, 1))
    firsts = set()
    for _ in range(20):
        image, flipped = transform(
            tv_tensors.Image(labels.expand(3, -1, -1)), tv_tensors.Mask(labels)
        )
        assert torch.equal(image[0], flipped)
        firsts.add(int(flipped[0, 0]))
    assert firsts == {0, 31}


def test_color_jitter_changes_the_image_alone():
    image, labels = sample(32, 32)
    plain = train_transform(32, scale=(1, 1), flip=0)(image, labels)
    changed = train_transform(32, scale=(1, 1), flip=0, color_jitter=0.5)(image, labels)
    assert torch.equal(plain[0], image)
    assert not torch.equal(changed[0], image)
    assert changed[0].dtype == torch.uint8
    assert torch.equal(changed[1], labels)


def test_evaluation_changes_nothing():
    image, labels = sample(7, 9)
    assert all(map(torch.equal, eval_transform()(image, labels), (image, labels)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"crop_size": 0}, "crop_size must lie between 1 and inf, got 0"),
        ({"crop_size": (32, -1)}, "crop_size must"),
        ({"scale": (2.0, 0.5)}, "scale is a range .*, its lower end first, got .2.0, 0.5"),
        ({"scale": (0.0, 1.0)}, "from 0.001 up"),
        ({"flip": 1.5}, "flip must lie between 0 and 1, got 1.5"),
        ({"max_class_share": 75}, "max_class_share must lie between 0 and 1, got 75"),
        ({"color_jitter": -0.5}, "color_jitter must"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        train_transform(**options)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5, 7)])
def test_normalize_is_what_torchvision_computes(shape):
    images = torch.randint(256, shape, dtype=torch.uint8)
    expected = v2.functional.normalize(images / 255, list(IMAGENET.mean), list(IMAGENET.std))
    normalize = Normalize(IMAGENET.mean, IMAGENET.std)
    torch.testing.assert_close(normalize(images), expected)
    torch.testing.assert_close(normalize(images / 255), expected)
    assert normalize(images).dtype == torch.float32


def test_normalize_takes_a_models_statistics_and_adds_nothing_to_a_checkpoint():
    normalize = Normalize.from_model(SimpleNamespace(preprocessing=IMAGENET.for_channels(4)))
    assert normalize(torch.zeros(2, 4, 3, 3, dtype=torch.uint8)).shape == (2, 4, 3, 3)
    assert normalize.mean.flatten()[:3].tolist() == pytest.approx(IMAGENET.mean)
    assert not normalize.state_dict()
    assert "mean=[" in repr(normalize)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 4, 2, 2), r"3 channels, \(N, C, H, W\), got shape \(1, 4, 2, 2\)"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), "uint8 or floating-point images, got"),
    ],
)
def test_normalize_refuses_other_images(images, says):
    with pytest.raises(ValueError, match=says):
        Normalize(IMAGENET.mean, IMAGENET.std)(images)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.2, 0.2)), ((), ()), ((0.5,), (0.0,))])
def test_normalize_refuses_other_statistics(mean, std):
    with pytest.raises(ValueError, match="one number per channel"):
        Normalize(mean, std)
