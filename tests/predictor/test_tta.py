import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import mean_probabilities

import ddrnet
from ddrnet.predictor.tta import predict_averaged
from ddrnet.upsampling import upsample


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ddrnet.create_model("ddrnet_23_nano", upsample=False).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 65, 99)


def toy_network(images):
    """Five logits at stride 8 that depend on place and side."""
    pooled = torch.nn.functional.avg_pool2d(images, 8, ceil_mode=True)
    slope = torch.linspace(-1, 1, pooled.shape[3])
    return torch.cat([pooled, pooled[:, :1] * slope, pooled[:, 1:2] - slope], 1) * 3


def test_one_scale_without_flip_is_exactly_predict(model, images):
    assert torch.equal(predict_averaged(model, images).long(), model.predict(images))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_one_view_of_any_dtype_is_exactly_predict(images, dtype):
    model = ddrnet.create_model("ddrnet_23_nano", upsample=False).eval().to(dtype)
    images = images.to(dtype)
    assert torch.equal(predict_averaged(model, images).long(), model.predict(images))


@given(
    st.lists(st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.6]), min_size=1, max_size=3),
    st.booleans(),
    st.tuples(st.integers(16, 50), st.integers(16, 50)),
    st.integers(1, 2),
)
def test_equals_plain_averaging_but_for_ties(scales, flip, size, number):
    images = torch.randn(number, 3, *size)
    got = predict_averaged(toy_network, images, scales, flip)
    expected = mean_probabilities(toy_network, images, scales, flip)
    chosen = expected.gather(1, got.long().unsqueeze(1))
    assert got.dtype == torch.uint8
    assert (expected.amax(1, keepdim=True) - chosen).max() < 1e-5


def test_probabilities_are_averaged_not_logits():
    # Mean logits are 3 and 4/3, mean probabilities about 0.41 and 0.59.
    maps = iter([[9.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    network = lambda images: torch.tensor(next(maps)).view(1, 2, 1, 1)  # noqa: E731
    assert predict_averaged(network, torch.zeros(1, 3, 4, 4), [1, 1, 1]).eq(1).all()


def test_flip_makes_the_result_symmetric(images):
    got = predict_averaged(toy_network, images, [1.0, 0.5], flip=True)
    mirrored = predict_averaged(toy_network, images.flip(-1), [1.0, 0.5], flip=True)
    assert (got != mirrored.flip(-1)).double().mean() < 1e-3


def test_a_single_other_scale_is_the_leader_of_its_logits(model, images):
    resized = torch.nn.functional.interpolate(
        images, (130, 198), mode="bilinear", align_corners=False, antialias=True
    )
    expected = upsample(model(resized), (65, 99)).argmax(1)
    assert torch.equal(predict_averaged(model, images, [2.0]), expected)


def test_needs_no_gradients(images):
    weight = torch.ones((), requires_grad=True)
    network = lambda images: toy_network(images) * weight  # noqa: E731
    assert not predict_averaged(network, images, [0.5, 1.0]).requires_grad


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, -1.0], [math.inf], [math.nan]])
def test_wrong_scales_raise(images, scales):
    with pytest.raises(ValueError, match="factors above 0"):
        predict_averaged(toy_network, images, scales)


@pytest.mark.parametrize("flip", [False, True])
def test_labels_beyond_8_bits_raise(images, flip):
    network = lambda images: torch.zeros(2, 257, 9, 13)  # noqa: E731
    with pytest.raises(ValueError, match=r"8-bit .* 256 classes, got .*257"):
        predict_averaged(network, images, flip=flip)
