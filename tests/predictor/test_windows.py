from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ddrnet
from ddrnet.predictor.windows import GRID, Windows, _spans


def pooled(images):
    """Logits at stride 8 that depend on nothing beyond their cell."""
    return torch.nn.functional.avg_pool2d(images, 8, ceil_mode=True, count_include_pad=False)


@given(
    st.tuples(st.integers(32, 700), st.integers(32, 700)),
    st.tuples(st.integers(128, 300), st.integers(128, 300)),
)
def test_a_network_without_surroundings_sees_no_difference(size, window):
    images = torch.rand(1, 3, *size)
    assert torch.allclose(Windows(pooled, window)(images), pooled(images), atol=1e-5)


@given(st.integers(1, 5000), st.integers(2, 20).map(lambda cells: cells * GRID))
def test_windows_cover_every_pixel_and_overlap_by_a_quarter(length, window):
    spans = _spans(length, window)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    for span in spans:
        assert span.start % GRID == 0
        assert span.stop - span.start <= window
    for before, after in pairwise(spans):
        assert before.stop - after.start >= window // 4 - GRID + 1
        assert after.start > before.start
    assert len(spans) == 1 or spans[-1].stop - spans[-1].start > window - GRID


def test_no_window_is_larger_than_asked(monkeypatch):
    seen = []

    def network(images):
        seen.append(tuple(images.shape[2:]))
        return pooled(images)

    Windows(network, (128, 192))(torch.rand(1, 3, 500, 501))
    assert max(height for height, _ in seen) <= 128
    assert max(width for _, width in seen) <= 192
    assert len(seen) > 9


def test_away_from_borders_of_windows_the_network_sees_nearly_the_same():
    model = ddrnet.create_model("ddrnet_23_nano.camvid", pretrained=True)
    image, _ = ddrnet.data.SyntheticStreets(1, (256, 512))[0]
    whole = ddrnet.Predictor(model, device="cpu")(image).labels
    seen = ddrnet.Predictor(model, device="cpu", window=(256, 256))(image).labels
    assert (whole == seen).mean() > 0.9
    one = ddrnet.Predictor(model, device="cpu", window=(256, 512))(image).labels
    assert np.array_equal(one, whole)


@pytest.mark.parametrize("size", [(20, 300), (300, 20), (1, 300), (31, 31)])
def test_an_image_lower_than_the_network_takes_is_enlarged(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    predictor = ddrnet.Predictor("ddrnet_23_nano.camvid", device="cpu", window=(128, 128))
    assert predictor(pixels).labels.shape == size


@pytest.mark.parametrize("window", [(64, 256), (256,), (127, 127)])
def test_windows_that_are_too_small_are_refused(window):
    with pytest.raises(ValueError, match="window is a height and a width from 128 pixels"):
        Windows(pooled, window)
