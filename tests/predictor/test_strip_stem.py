import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ddrnet
from ddrnet.blocks import stem
from ddrnet.predictor import strip_stem
from ddrnet.predictor.engine import TorchEngine
from ddrnet.predictor.strip_stem import StripStem


def trained_stem(dtype=torch.float64):
    """A stem of width 4 whose BatchNorm and biases do something, in evaluation mode."""
    layers = stem(3, 4).to(dtype).eval()
    for layer in layers:
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.bias.data.normal_()
    return layers


def normalise(images):
    """Brighten, so that black and the padding are told apart."""
    return images.double() / 255 + 0.5


@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(1, 2),
    st.sampled_from([1, 40, 400, 3000, 1 << 30]),
)
def test_equals_the_stem_of_the_whole_image(height, width, batch, strip):
    layers = trained_stem()
    images = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
    expected = layers(normalise(images))
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(strip_stem, "CPU_STRIP", strip)
        found = StripStem(copy.deepcopy(layers), normalise)(images)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-12


def test_infinite_and_nan_pixels_stay(monkeypatch):
    monkeypatch.setattr(strip_stem, "CPU_STRIP", 100)
    images = torch.zeros(1, 3, 40, 40, dtype=torch.float64)
    images[0, 0, 20, 20], images[0, 0, 0, 0] = torch.nan, torch.inf
    layers = trained_stem()
    with torch.no_grad():
        found = StripStem(copy.deepcopy(layers), lambda part: part)(images)
        torch.testing.assert_close(found, layers(images), equal_nan=True)


def test_the_normalised_image_is_never_held_whole(monkeypatch):
    monkeypatch.setattr(strip_stem, "CPU_STRIP", 1 << 15)
    seen = []

    def watch(images):
        seen.append(images.shape[2])
        return normalise(images)

    with torch.no_grad():
        StripStem(trained_stem(), watch)(torch.zeros(1, 3, 1024, 1024, dtype=torch.uint8))
    assert max(seen) < 1024 / 10
    assert sum(seen) < 1024 * 1.2, "neighbouring strips share few rows"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(32, 32), (65, 97), (130, 47)])
def test_the_engine_computes_the_same_with_and_without_strips(size, precision, monkeypatch):
    monkeypatch.setattr(strip_stem, "CPU_STRIP", 2000)
    model = ddrnet.create_model("ddrnet_23_nano.synthetic", True)
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    strips = TorchEngine(model, device="cpu", precision=precision)
    whole = TorchEngine(model, device="cpu", precision=precision)
    whole._strip_stem = None
    expected = whole(images)
    rounding = 1e-5 if precision == "float32" else 0.1
    assert (strips(images) - expected).abs().max() < rounding * expected.abs().max()
    assert torch.equal(whole.network.stem[0].weight, strips.network.stem[0].weight)
    assert whole.network.stem[0].padding == strips.network.stem[0].padding == (1, 1)
