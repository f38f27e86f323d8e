import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.upsampling import upsample, upsampled_confidence


def plain(logits, size):
    return (
        upsample(logits.float() if logits.dtype != torch.float64 else logits, size)
        .softmax(1)
        .amax(1)
    )


@given(
    shape=st.tuples(*[st.integers(1, n) for n in (2, 5, 9, 9)]),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 99),
)
def test_equals_the_softmax_at_full_resolution(shape, size, seed):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 5
    torch.testing.assert_close(
        upsampled_confidence(logits, size), plain(logits, size), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_types_and_devices(dtype, device):
    logits = torch.randn(2, 19, 16, 32, device=device).to(dtype)
    got = upsampled_confidence(logits, (128, 256))
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(got, plain(logits, (128, 256)), rtol=0, atol=1e-5)


def test_logits_too_large_for_exp_have_no_overflow():
    logits = torch.tensor([[[[1e4]], [[0.0]]]])
    assert upsampled_confidence(logits, (2, 2)).tolist() == [[[1, 1], [1, 1]]]


def test_refuses_what_is_no_map():
    with pytest.raises(ValueError, match=r"shape \(N, K, h, w\)"):
        upsampled_confidence(torch.zeros(3, 4, 4), (8, 8))
