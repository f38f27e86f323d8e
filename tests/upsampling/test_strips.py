import pytest
import torch
from torch.nn import functional as F

from ddrnet.upsampling import strips, upsample
from ddrnet.upsampling.strips import CPU_STRIP, Strips

SIZES = [(5, 7), (10, 14), (15, 21), (20, 28), (40, 56), (80, 112), (37, 41), (3, 2), (1, 1)]


@pytest.fixture
def logits():
    return torch.randn(3, 5, 7, dtype=torch.float64)


def test_upsample_keeps_pixel_centres():
    # Two pixels at 0.5 and 1.5 of width 2; four at 0.25, 0.75, 1.25, 1.75: weights of a quarter.
    row = upsample(torch.tensor([[[[0.0, 4.0]]]]), (1, 4))
    assert row.flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_upsample_to_the_same_size_changes_nothing():
    features = torch.randn(2, 3, 7, 5)
    assert torch.equal(upsample(features, (7, 5)), features)


@pytest.fixture(params=[1, 200, CPU_STRIP])
def strip_size(request, monkeypatch):
    """Values in a strip: a row or two, a few rows, and as usual."""
    monkeypatch.setattr(strips, "CPU_STRIP", request.param)


@pytest.mark.usefixtures("strip_size")
@pytest.mark.parametrize("size", SIZES)
def test_strips_make_up_the_interpolated_image(logits, size):
    whole = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
    seen = []
    for rows, strip in Strips(logits, size):
        torch.testing.assert_close(strip, whole[:, rows].transpose(0, 1), rtol=0, atol=1e-14)
        seen += range(size[0])[rows]
    assert seen == list(range(size[0]))


@pytest.mark.parametrize("height", [8, 24, 9])
def test_a_single_row_is_repeated(height):
    logits = torch.randn(2, 1, 3)
    rows = torch.cat([strip.clone() for _, strip in Strips(logits, (height, 3))])
    assert torch.equal(rows, logits.transpose(0, 1).expand(height, 2, 3))


def test_strips_are_in_order_and_fit_the_cache():
    parts = list(Strips(torch.randn(19, 32, 64), (256, 512)))
    assert [row for rows, _ in parts for row in range(256)[rows]] == list(range(256))
    assert len(parts) > 1
    assert max(strip.numel() for _, strip in parts) <= CPU_STRIP


@pytest.mark.usefixtures("strip_size")
@pytest.mark.parametrize("size", SIZES)
def test_transposed_is_the_gradient(logits, size):
    logits.requires_grad_()
    gradient = torch.randn(3, *size, dtype=torch.float64)
    whole = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
    (expected,) = torch.autograd.grad(whole, logits, gradient)
    image = Strips(logits.detach(), size)
    parts = ((rows, gradient[:, rows].transpose(0, 1).clone()) for rows, _ in image)
    torch.testing.assert_close(image.transposed(parts), expected, rtol=0, atol=1e-13)
