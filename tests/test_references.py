import random

import numpy as np
import pytest
import torch
from references import plain_normalisation, plain_training, plain_training_step
from timm.scheduler import PolyLRScheduler
from torch import nn

import ddrnet
from ddrnet.data import Normalize
from ddrnet.losses import AuxiliaryLoss, OhemCrossEntropyLoss

MIN_KEPT = 500
CRITERION = AuxiliaryLoss(OhemCrossEntropyLoss(min_kept=MIN_KEPT))


@pytest.fixture
def images():
    return torch.randint(256, (4, 3, 64, 96), dtype=torch.uint8)


@pytest.fixture
def target():
    labels = torch.randint(5, (4, 8, 12)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :8, :24] = 255
    return labels


def normalised(image):
    pixels = plain_normalisation(image.permute(1, 2, 0).numpy()).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels)).double()


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_a_plain_step_has_our_loss_and_gradients(images, target):
    # In float64, because BatchNorm on maps of a few pixels multiplies rounding.
    options = {"num_classes": 5, "aux_head": True, "upsample": False}
    plain = ddrnet.create_model("ddrnet_23_nano", **options).double()
    ours = ddrnet.create_model("ddrnet_23_nano", **options).double()
    ours.load_state_dict(plain.state_dict())
    ours.to(memory_format=torch.channels_last)
    batch = torch.stack([normalised(image) for image in images])
    optimizer = torch.optim.SGD(plain.parameters(), 0.0)
    expected = plain_training_step(plain, optimizer, batch, target, MIN_KEPT)
    pixels = Normalize.from_model(ours)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(pixels.double(), batch, rtol=0, atol=1e-6)  # both are float32
    loss = CRITERION(ours(batch.to(memory_format=torch.channels_last)), target.to(torch.uint8))
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    scale = gradients(plain).abs().max().item()
    torch.testing.assert_close(gradients(ours), gradients(plain), rtol=1e-9, atol=1e-11 * scale)


class TwoHeads(nn.Module):
    """The smallest model with an auxiliary output."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 5, 8, stride=8)
        self.aux_head = nn.Conv2d(3, 5, 8, stride=8)

    def forward(self, images):
        return ddrnet.SegmentationOutput(self.head(images), self.aux_head(images))


def test_plain_training_ends_at_our_weights(images, target):
    plain, ours, drawn = TwoHeads().double(), TwoHeads().double(), []
    ours.load_state_dict(plain.state_dict())

    def load(index, rng):
        drawn.append(index)
        return normalised(images[index]), target[index]

    losses = plain_training(plain, load, 4, 3, 2, 0.01, MIN_KEPT, seed=1)
    assert [sorted(drawn[start : start + 4]) for start in (0, 4, 8)] == [[0, 1, 2, 3]] * 3
    assert drawn[:4] == random.Random(1).sample(range(4), 4)
    optimizer = torch.optim.SGD(ours.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    schedule = PolyLRScheduler(optimizer, len(losses), power=0.9, t_in_epochs=False)
    for step, pair in enumerate(zip(drawn[::2], drawn[1::2], strict=True)):
        schedule.step_update(step)
        batch = torch.stack([normalised(images[index]) for index in pair])
        loss = CRITERION(ours(batch), target[list(pair)])
        assert loss.item() == pytest.approx(losses[step], rel=1e-10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=1e-9, atol=1e-12)
