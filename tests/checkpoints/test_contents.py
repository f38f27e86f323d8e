import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from own_sizes import own_configs

from ddrnet.checkpoints import Contents, describe
from ddrnet.checkpoints.contents import fusion_strides
from ddrnet.classifier import DDRNetClassifier
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS, DDRNetConfig

NANO = VARIANTS["ddrnet_23_nano"]


def state_of(config, *args, **options):
    with torch.device("meta"):
        return DDRNet(config, *args, **options).state_dict()


def without(state, *beginnings):
    return {key: tensor for key, tensor in state.items() if not key.startswith(beginnings)}


@pytest.mark.parametrize("aux_head", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_tells_the_size(name, aux_head):
    contents = describe(state_of(VARIANTS[name], aux_head=aux_head))
    assert contents == Contents(VARIANTS[name], 19, 3, aux_head, False)


@pytest.mark.parametrize("name", VARIANTS)
def test_tells_the_size_of_a_backbone(name):
    state = without(state_of(VARIANTS[name]), "dappm.", "head.")
    assert describe(state) == Contents(VARIANTS[name], None, 3, False, True)


@pytest.mark.parametrize("name", VARIANTS)
def test_tells_a_classifier(name):
    with torch.device("meta"):
        state = DDRNetClassifier(VARIANTS[name], 7, 4).state_dict()
    assert describe(state) == Contents(VARIANTS[name], None, 4, False, True, True)


def test_tells_classes_and_channels():
    contents = describe(state_of(NANO, 5, 4))
    assert (contents.num_classes, contents.in_chans) == (5, 4)


@given(own_configs(), st.booleans())
def test_tells_any_own_size(config, aux_head):
    state = state_of(config, 2, aux_head=aux_head)
    assert describe(state).config == config
    assert fusion_strides(reversed(list(state))) == tuple(s.stride for s in config.fusion_stages)


@pytest.mark.parametrize(
    "lost",
    ["stem.0.weight", "trunk.1.", "fusion_stages.", "dappm.scales.0.2.weight", "head.conv1."],
)
def test_tells_no_size_where_it_cannot(lost):
    assert describe(without(state_of(NANO), lost)).config is None


def test_an_own_backbone_tells_no_size():
    config = DDRNetConfig(8, (1, 1), ((16, 1),), 8, 8)
    assert describe(without(state_of(config), "dappm.", "head.")).config is None


def test_strange_tensors_do_no_harm():
    assert describe({}) == Contents(None, None, None, False, True)
    assert describe({"stem.0.weight": torch.tensor(1), "head.conv2.weight": torch.ones(3)}) == (
        Contents(None, None, None, False, False)
    )
