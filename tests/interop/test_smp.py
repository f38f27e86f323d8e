"""Encoders for segmentation_models_pytorch, through timm."""

import io

import pytest
import segmentation_models_pytorch as smp
import torch
from containers import row_file
from huggingface_hub import constants
from loopback import Loopback

from ddrnet import classification
from ddrnet.registry import get_weights

ARCHITECTURES = ("Unet", "FPN", "DeepLabV3Plus", "UPerNet", "Segformer")
SLIM = "tu-ddrnet_23_slim"


@pytest.mark.parametrize(
    ("name", "in_channels"), [*((name, 3) for name in ARCHITECTURES), ("Unet", 4)]
)
def test_every_architecture_trains_a_step(name, in_channels):
    model = getattr(smp, name)(SLIM, encoder_weights=None, in_channels=in_channels, classes=2)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    # A bias before BatchNorm has no effect, so its gradient is rounding alone.
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    before = [weight.clone() for weight in weights]
    logits = model(torch.randn(2, in_channels, 64, 96))
    assert logits.shape == (2, 2, 64, 96)
    torch.nn.functional.cross_entropy(logits, torch.randint(2, (2, 64, 96))).backward()
    optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(map(torch.equal, weights, before))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_encoder_has_the_depth_asked_for(depth):
    encoder = smp.encoders.get_encoder("tu-ddrnet_23_nano", weights=None, depth=depth)
    features = encoder(torch.randn(2, 3, 64, 64))
    assert [feature.shape[1] for feature in features] == list(encoder.out_channels)
    assert [64 // feature.shape[-1] for feature in features] == [1, 2, 4, 8, 16, 32][: depth + 1]
    sum(feature.mean() for feature in features).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_encoders_have_pretrained_weights(monkeypatch, tmp_path):
    row = get_weights("ddrnet_23_slim.in1k")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path))
    with Loopback() as server:
        row = server.mirror(row, row_file(row))
        monkeypatch.setattr(classification, "get_weights", lambda name: row)
        model = smp.Unet(f"{SLIM}.in1k", encoder_weights=True)
    published = torch.load(io.BytesIO(row_file(get_weights(row.name))), weights_only=True)
    assert torch.equal(model.encoder.model.model.stem[0].weight, published["conv1.0.weight"])
