"""The traceable argmax against the exact one, and as a traced program."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ddrnet.upsampling import upsample_argmax
from ddrnet.upsampling.traceable import traceable_argmax

KINDS = {
    "noise": torch.randn,
    "ties": lambda *shape: torch.randn(shape).round(),
    "smooth": lambda n, k, h, w: F.interpolate(5 * torch.randn(n, k, 3, 3), (h, w), mode="bicubic"),
    "equal": torch.zeros,
    "huge": lambda *shape: 1e30 * torch.randn(shape),
}


def lead(labels, logits):
    """Return how far each pixel's class trails the leading one, in float64."""
    exact = F.interpolate(logits.double(), labels.shape[1:], mode="bilinear", align_corners=False)
    return exact.amax(1) - exact.gather(1, labels.long().unsqueeze(1)).squeeze(1)


@settings(max_examples=60)
@given(
    n=st.integers(0, 3),
    classes=st.sampled_from([1, 2, 5, 19, 256]),
    size=st.tuples(st.integers(2, 150), st.integers(2, 150)),
    stride=st.sampled_from([2, 3, 8, 8]),
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 2**32),
)
def test_finds_a_class_that_leads_to_within_rounding(n, classes, size, stride, kind, seed):
    torch.manual_seed(seed)
    logits = KINDS[kind](n, classes, *(-(-side // stride) for side in size))
    labels = traceable_argmax(logits, size, stride)
    assert labels.dtype == torch.uint8
    assert labels.shape == (n, *size)
    if n:
        epsilon = torch.finfo(torch.float32).eps
        assert lead(labels, logits).max() <= 8 * epsilon * logits.abs().max()


@given(height=st.integers(2, 300), width=st.integers(2, 300), seed=st.integers(0, 2**32))
def test_differs_from_the_exact_argmax_at_near_ties_alone(height, width, seed):
    torch.manual_seed(seed)
    logits = torch.randn(1, 7, -(-height // 8), -(-width // 8))
    labels = traceable_argmax(logits, (height, width), 8)
    wrong = labels != upsample_argmax(logits, (height, width))
    assert not wrong.any() or lead(labels, logits)[wrong].max() < 1e-5


class Argmax(torch.nn.Module):
    def forward(self, logits, images):
        return traceable_argmax(logits, images.shape[1:3], 8)


@pytest.fixture(scope="module")
def program():
    """The operation traced once; the sizes of the example are of no importance."""
    D = torch.export.Dim
    n, height, width = D("n"), D("height", min=32), D("width", min=32)
    h, w = D("h", min=4), D("w", min=4)
    example = torch.randn(2, 5, 9, 8), torch.zeros(2, 67, 64, 3, dtype=torch.uint8)
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        return torch.export.export(
            Argmax(), example, dynamic_shapes=({0: n, 2: h, 3: w}, {0: n, 1: height, 2: width})
        )


@pytest.mark.parametrize("size", [(32, 32), (41, 100), (375, 242)])
@pytest.mark.parametrize("n", [1, 3])
def test_one_traced_program_serves_every_size(program, size, n):
    logits = torch.randn(n, 5, *(-(-side // 8) for side in size))
    images = torch.zeros(n, *size, 3, dtype=torch.uint8)
    assert torch.equal(program.module()(logits, images), traceable_argmax(logits, size, 8))
