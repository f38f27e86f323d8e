"""A folded network against the network it came from."""

import copy

import pytest
import torch
from torch import nn

import ddrnet
from ddrnet.variants import VARIANTS


def trained(name, **options):
    """A model whose BatchNorm is far from the identity."""
    model = ddrnet.create_model(name, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_stay_the_same_in_double_precision(name):
    model = trained(name, aux_head=True, num_classes=5).double()
    images = torch.randn(2, 3, 65, 97, dtype=torch.float64)
    with torch.no_grad():
        for got, expected in zip(ddrnet.fuse(model)(images), model(images), strict=True):
            assert (got - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_logits_stay_the_same_in_single_precision(device):
    model = ddrnet.create_model("ddrnet_23_nano.camvid", pretrained=True).eval().to(device)
    images = torch.randn(1, 3, 128, 160, device=device)
    with torch.no_grad():
        torch.testing.assert_close(ddrnet.fuse(model)(images), model(images), rtol=0, atol=1e-4)


def test_every_batch_norm_after_a_convolution_is_gone():
    fused = ddrnet.fuse(trained("ddrnet_23_nano"))
    left = [name for name, module in fused.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left
    assert all(name.startswith("dappm.") or name == "head.bn1" for name in left)


def test_the_model_is_left_alone():
    model = trained("ddrnet_23_nano").train()
    before = copy.deepcopy(model.state_dict())
    fused = ddrnet.fuse(model)
    assert model.training
    assert not fused.training
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_synchronised_batch_norm_is_folded_too():
    model = trained("ddrnet_23_nano")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            ddrnet.fuse(converted).head.conv1.weight, ddrnet.fuse(model).head.conv1.weight
        )
        torch.testing.assert_close(ddrnet.fuse(model)(images), model(images), rtol=0, atol=1e-3)


def test_a_folded_model_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="a fused or otherwise changed model"):
        ddrnet.save_pretrained(ddrnet.fuse(trained("ddrnet_23_nano")), tmp_path)


def test_only_a_ddrnet_is_folded():
    with pytest.raises(TypeError, match="expected a DDRNet, got Sequential; unwrap it"):
        ddrnet.fuse(nn.Sequential())
