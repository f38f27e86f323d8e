"""The divergence of a student's class probabilities from a teacher's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import distillation_loss
from torch import nn

from ddrnet.losses import DistillationLoss

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))


def logits_of(shape, scale=3.0):
    return scale * torch.randn(shape, dtype=torch.float64)


@given(
    shape=SHAPES,
    temperature=st.floats(0.1, 20),
    scale=st.sampled_from([0.0, 0.1, 3.0, 50.0]),
    seed=st.integers(0, 2**32),
)
def test_equals_the_divergence_of_torch_distributions(shape, temperature, scale, seed):
    torch.manual_seed(seed)
    student, teacher = logits_of(shape, scale).requires_grad_(), logits_of(shape, scale)
    loss = DistillationLoss(temperature)(student, teacher)
    expected = distillation_loss(student, teacher, temperature)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-10)
    gradients = [torch.autograd.grad(value, student)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


@given(shape=SHAPES, temperature=st.floats(0.5, 8), seed=st.integers(0, 2**32))
def test_is_zero_for_the_same_probabilities_and_never_negative(shape, temperature, seed):
    torch.manual_seed(seed)
    criterion, student, teacher = DistillationLoss(temperature), logits_of(shape), logits_of(shape)
    shifted = teacher + torch.randn(shape[0], 1, *shape[2:], dtype=torch.float64)
    assert criterion(student, teacher) >= -1e-12
    assert criterion(shifted, teacher).abs() < 1e-12, "softmax ignores what all classes share"


def test_two_classes_hand_computed():
    student = torch.tensor([[[[0.0]], [[0.0]]]])  # probabilities 1/2 and 1/2
    teacher = torch.tensor([[[[math.log(3.0)]], [[0.0]]]])  # 3/4 and 1/4
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert DistillationLoss(1)(student, teacher).item() == pytest.approx(expected)
    twice = DistillationLoss(2)(student, 2 * teacher)
    assert twice.item() == pytest.approx(4 * expected), "the square of the temperature"


def test_at_high_temperature_it_compares_centred_logits():
    """Source: arXiv 1503.02531, section 2.1."""
    student, teacher = logits_of((2, 5, 3, 4), 1.0), logits_of((2, 5, 3, 4), 1.0)
    difference = (student - student.mean(1, keepdim=True)) - (
        teacher - teacher.mean(1, keepdim=True)
    )
    expected = difference.square().mean() / 2
    torch.testing.assert_close(DistillationLoss(1e4)(student, teacher), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("temperature", [0.5, 1, 4])
def test_gradcheck(temperature):
    student, teacher = logits_of((2, 3, 3, 4)).requires_grad_(), logits_of((2, 3, 3, 4))
    criterion = DistillationLoss(temperature)
    assert torch.autograd.gradcheck(lambda z: criterion(z, teacher), student)


def test_the_teacher_gets_no_gradient():
    student, teacher = (logits_of((1, 3, 2, 2)).requires_grad_() for _ in range(2))
    DistillationLoss()(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_an_empty_batch_gives_zero_and_zero_gradients(device):
    student = torch.randn(0, 3, 4, 4, device=device, requires_grad=True)
    loss = DistillationLoss()(student, student.detach())
    loss.backward()
    assert loss.item() == 0
    assert student.grad.shape == student.shape


def test_autocast_computes_in_float32(device):
    convolution, images = nn.Conv2d(3, 5, 1).to(device), torch.randn(2, 3, 8, 8, device=device)
    teacher = torch.randn(2, 5, 8, 8, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        logits = convolution(images)
        loss = DistillationLoss(2)(logits, teacher.bfloat16())
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    expected = DistillationLoss(2)(logits.float(), teacher.bfloat16().float())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert convolution.weight.grad.dtype == torch.float32


def test_diverged_logits_are_not_hidden():
    student = torch.full((1, 3, 4, 4), torch.nan)
    assert DistillationLoss()(student, torch.zeros(1, 3, 4, 4)).isnan()


def test_accelerators_need_not_wait(accelerator_device, no_waiting):
    student = torch.zeros(2, 3, 8, 8, device=accelerator_device, requires_grad=True)
    with no_waiting():
        DistillationLoss(2)(student, torch.ones_like(student)).backward()


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_refuses_a_temperature_that_is_not_above_zero(temperature):
    with pytest.raises(ValueError, match="temperature is above 0, got"):
        DistillationLoss(temperature)


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 3, 64, 64), (1, 3, 8, 8)])
def test_refuses_logits_of_another_shape(shape):
    message = r"expected a teacher's logits of shape \(2, 3, 8, 8\), got"
    with pytest.raises(ValueError, match=message):
        DistillationLoss()(torch.zeros(2, 3, 8, 8), torch.zeros(shape))
