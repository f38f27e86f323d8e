import pytest
import torch
from torch.nn import functional as F

from ddrnet.backbone import Backbone, BilateralFusion
from ddrnet.network import DDRNet
from ddrnet.upsampling import upsample
from ddrnet.variants import HEADS, VARIANTS, FusionStage

NANO = VARIANTS["ddrnet_23_nano"]


@pytest.fixture
def fusion():
    """The stage at stride 32 with its inputs: stride 16 and stride 8 of 40 x 72 pixels."""
    stage = BilateralFusion(NANO, FusionStage(32, 2), 16).eval()
    return stage, torch.randn(2, 64, 3, 5), torch.randn(2, 32, 5, 9)


def test_each_branch_is_added_to_the_other(fusion):
    stage, low_res, high_res = fusion
    with torch.no_grad():
        own_low_res, own_high_res = stage.low_res(low_res), stage.high_res(high_res)
        upward = upsample(stage.low_to_high(F.relu(own_low_res)), (5, 9))
        downward = stage.high_to_low(F.relu(own_high_res))
        got = stage(low_res, high_res)
    assert torch.equal(got[0], own_low_res + downward)
    assert torch.equal(got[1], own_high_res + upward)


@pytest.mark.parametrize("removed", ["low_to_high", "high_to_low"])
def test_a_removed_connection_adds_nothing(fusion, removed):
    stage, low_res, high_res = fusion
    with torch.no_grad():
        whole = stage(low_res, high_res)
        setattr(stage, removed, None)
        got = stage(low_res, high_res)
        bare = stage.low_res(low_res), stage.high_res(high_res)
    changed = 1 if removed == "low_to_high" else 0
    assert torch.equal(got[changed], bare[changed])
    assert torch.equal(got[1 - changed], whole[1 - changed])


@pytest.mark.parametrize("name", VARIANTS)
def test_holds_what_the_segmentation_network_has_besides_its_heads(name):
    with torch.device("meta"):
        backbone = Backbone(VARIANTS[name], 4, tail_stride=1).state_dict()
        network = DDRNet(VARIANTS[name], in_chans=4, aux_head=True).state_dict()
    shapes = {key: tensor.shape for key, tensor in network.items() if not key.startswith(HEADS)}
    assert {key: tensor.shape for key, tensor in backbone.items()} == shapes
