from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ddrnet.upsampling import upsampled_cross_entropy
from ddrnet.upsampling.cross_entropy import summed_cross_entropy


def interpolated_cross_entropy(logits, target, ignore_index=255):
    logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, target.long(), ignore_index=ignore_index, reduction="none")


def labels(shape, classes, ignored=0.2, ignore_index=255):
    target = torch.randint(classes, shape)
    return torch.where(torch.rand(shape) < ignored, ignore_index, target)


def gradient(losses, logits, seed=0):
    weights = torch.rand(losses.shape, generator=torch.Generator().manual_seed(seed))
    return torch.autograd.grad(losses, logits, weights.to(losses))[0]


@given(
    shape=st.tuples(
        st.integers(1, 3), st.sampled_from([1, 2, 19]), st.integers(1, 12), st.integers(1, 12)
    ),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    stride=st.sampled_from([None, 1, 4, 8, 16]),
    scale=st.sampled_from([0.0, 5.0, 30.0, 1000.0]),
    seed=st.integers(0, 2**32),
)
def test_equals_cross_entropy_of_interpolated_logits(shape, size, stride, scale, seed):
    torch.manual_seed(seed)
    if stride is not None:
        size = shape[2] * stride, shape[3] * stride
    logits = (scale * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    target = labels((shape[0], *size), shape[1])
    losses, before = upsampled_cross_entropy(logits, target), target.clone()
    expected = interpolated_cross_entropy(logits, target)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-11)
    assert_close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-11)
    assert_close(gradient(losses, logits), gradient(expected, logits))
    weights = torch.rand_like(losses) * (target != 255)
    total = summed_cross_entropy(logits, target, weights)
    expected = (interpolated_cross_entropy(logits, target) * weights).sum()
    assert_close(total, expected)
    assert_close(*(torch.autograd.grad(3 * value, logits)[0] for value in (total, expected)))
    assert torch.equal(target, before)


def test_gradcheck():
    logits = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    target = labels((2, 13, 18), 3)
    weights = torch.rand(target.shape, dtype=torch.float64) * (target != 255)
    assert torch.autograd.gradcheck(lambda z: upsampled_cross_entropy(z, target), logits)
    assert torch.autograd.gradcheck(lambda z: summed_cross_entropy(z, target, weights), logits)


def test_many_strips_and_images_in_float32(device):
    logits = torch.randn(2, 19, 30, 40).to(device).requires_grad_()
    target = labels((2, 240, 320), 19).to(device)
    losses = upsampled_cross_entropy(logits, target)
    expected = interpolated_cross_entropy(logits, target)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient(losses, logits), gradient(expected, logits))


def test_extreme_logits_stay_finite(device):
    logits = torch.tensor([[[[1e4, -1e4]], [[-1e4, 1e4]]]], device=device).requires_grad_()
    target = torch.tensor([[[0, 0, 1, 1]]], device=device)
    losses = upsampled_cross_entropy(logits, target)
    torch.testing.assert_close(losses, interpolated_cross_entropy(logits, target))
    total = summed_cross_entropy(logits, target, torch.ones_like(losses))
    torch.testing.assert_close(total, losses.sum())
    gradients = [torch.autograd.grad(value, logits)[0] for value in (total, losses.sum())]
    torch.testing.assert_close(*gradients)
    assert gradients[0].isfinite().all()


@pytest.mark.parametrize("spread", [80.0, 83.0, 84.0, 200.0])
def test_float32_keeps_its_digits_between_positions_that_disagree(spread, device):
    # In the middle of four positions with four leading classes, every class is far below 0.
    corners = -spread * (1 - torch.eye(5)[:4]).T.reshape(1, 5, 2, 2)
    logits = corners.to(device).requires_grad_()
    target = torch.arange(16 * 16, device=device).view(1, 16, 16) % 5
    losses = upsampled_cross_entropy(logits, target)
    torch.testing.assert_close(losses, interpolated_cross_entropy(logits, target))
    total = summed_cross_entropy(logits, target, torch.ones_like(losses))
    torch.testing.assert_close(total, losses.sum())


def test_a_sum_without_gradient():
    logits, target = torch.randn(1, 3, 4, 4), labels((1, 32, 32), 3)
    weights = torch.rand(1, 32, 32) * (target != 255)
    with torch.no_grad():
        total = summed_cross_entropy(logits.requires_grad_(), target, weights)
    assert not total.requires_grad
    expected = (interpolated_cross_entropy(logits, target) * weights).sum()
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layout_does_not_matter(memory_format):
    logits = torch.randn(2, 5, 4, 4).contiguous(memory_format=memory_format).requires_grad_()
    target = labels((2, 32, 32), 5)
    losses = upsampled_cross_entropy(logits, target)
    expected = interpolated_cross_entropy(logits, target)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient(losses, logits), gradient(expected, logits))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_target_of_any_integer_dtype(dtype):
    logits = torch.randn(1, 5, 4, 4)
    target = labels((1, 32, 32), 5, ignore_index=99)
    expected = upsampled_cross_entropy(logits, target, ignore_index=99)
    assert torch.equal(upsampled_cross_entropy(logits, target.to(dtype), ignore_index=99), expected)


def test_an_ignored_label_that_the_dtype_cannot_hold_ignores_nothing():
    logits, target = torch.randn(1, 256, 2, 2), torch.full((1, 4, 4), 255, dtype=torch.uint8)
    losses = upsampled_cross_entropy(logits, target, ignore_index=-1)
    torch.testing.assert_close(losses, interpolated_cross_entropy(logits, target, -1))


def test_ignored_pixels_give_nothing(device):
    logits = torch.randn(1, 3, 4, 4, device=device, requires_grad=True)
    losses = upsampled_cross_entropy(logits, torch.full((1, 8, 8), 255, device=device))
    assert losses.count_nonzero() == 0
    assert gradient(losses, logits).count_nonzero() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, device):
    logits = torch.randn(1, 19, 8, 8).to(device, dtype).requires_grad_()
    target = labels((1, 64, 64), 19).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        losses = upsampled_cross_entropy(logits, target)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, interpolated_cross_entropy(logits.float(), target))
    expected = gradient(interpolated_cross_entropy(logits.float(), target), logits)
    torch.testing.assert_close(gradient(losses, logits), expected)


def test_never_holds_full_resolution_logits(largest_tensor):
    logits = torch.randn(2, 19, 32, 64, requires_grad=True)
    target = labels((2, 256, 512), 19)
    with largest_tensor() as largest:
        upsampled_cross_entropy(logits, target).sum().backward()
        summed_cross_entropy(logits, target, (target != 255).float()).backward()
    assert largest.numel < 19 * 256 * 512 / 4


def test_accelerators_need_not_wait(accelerator_device, no_waiting):
    logits = torch.zeros(2, 19, 8, 8, device=accelerator_device, requires_grad=True)
    target = torch.zeros(2, 64, 64, device=accelerator_device, dtype=torch.uint8)
    weights = torch.ones(2, 64, 64, device=accelerator_device)
    with no_waiting():
        upsampled_cross_entropy(logits, target).sum().backward()
        summed_cross_entropy(logits, target, weights).backward()


@pytest.mark.parametrize("wrong", [[19], [-1], [20, 254]])
def test_a_label_that_is_no_class_is_named(wrong):
    target = labels((1, 64, 64), 19)
    target[0, 5, : len(wrong)] = torch.tensor(wrong)
    with pytest.raises(ValueError, match=rf"labels \{wrong}, expected 0 to 18 or the ignored 255"):
        upsampled_cross_entropy(torch.randn(1, 19, 8, 8), target)


@pytest.mark.parametrize(
    ("shape", "target", "message"),
    [
        ((2, 3, 4, 4), torch.zeros(1, 8, 8, dtype=torch.int64), r"shape \(2, H, W\).*\(1, 8, 8\)"),
        ((1, 3, 4, 4), torch.zeros(1, 1, 8, 8, dtype=torch.int64), r"\(1, 1, 8, 8\)"),
        ((1, 3, 4, 4), torch.zeros(8, 8, dtype=torch.int64), r"\(8, 8\)"),
        ((1, 3, 4, 4), torch.zeros(1, 8, 8), "integer labels.*torch.float32"),
        ((3, 4, 4), torch.zeros(3, 8, 8, dtype=torch.int64), "floating-point logits of shape"),
    ],
)
def test_refuses_shapes_and_dtypes_that_do_not_fit(shape, target, message):
    with pytest.raises(ValueError, match=message):
        upsampled_cross_entropy(torch.zeros(shape), target)


def test_a_second_derivative_raises():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    losses = upsampled_cross_entropy(logits, target)
    for total in (losses.sum(), summed_cross_entropy(logits, target, torch.ones(1, 8, 8))):
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(total, logits, create_graph=True)
