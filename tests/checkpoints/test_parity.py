"""The published code's logits from the published names, through every step of loading."""

import re

import golden_data
import pytest
import torch

from ddrnet.checkpoints import fit_state_dict, from_ddrnet, read_state_dict, to_ddrnet
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS

TOLERANCE = 1e-4
"""Largest difference, as a fraction of the largest logit; the reference is float32 itself."""

QUICK = ("ddrnet_23_slim.128x256", "136x200")
"""The fast suite compares both recorded sizes of the small model, and one of the others."""

RECORDED = [
    pytest.param(
        family,
        *re.fullmatch(r"(\w+)\.(\d+)x(\d+)\.main", name).groups(),
        marks=() if any(quick in name for quick in QUICK) else pytest.mark.slow,
        id=f"{family}-{name.removesuffix('.main')}",
    )
    for family in ("official", "supergradients", "mmseg")
    for name in golden_data.outputs(family)
    if name.endswith(".main")
]


def build(name, state):
    model = DDRNet(VARIANTS[name], aux_head=True, upsample=False).eval()
    fit = fit_state_dict(to_ddrnet(state), model.state_dict())
    assert fit.initialised == fit.dropped == ()
    model.load_state_dict(fit.state, strict=True)
    return model


def logits_of(name, state, image):
    with torch.no_grad():
        return build(name, state)(image)


@pytest.mark.parametrize(("family", "name", "height", "width"), RECORDED)
def test_logits_equal_the_recorded_ones(family, name, height, width):
    state = golden_data.state_dict(golden_data.keys(family)[name])
    got = logits_of(name, state, golden_data.image(int(height), int(width)))
    for head, logits in zip(("main", "aux"), got, strict=True):
        expected = golden_data.outputs(family)[f"{name}.{height}x{width}.{head}"]
        assert golden_data.relative_error(logits, expected) < TOLERANCE


@pytest.mark.parametrize(
    "name", ["ddrnet_23_slim", pytest.param("ddrnet_23", marks=pytest.mark.slow)]
)
def test_logits_survive_the_way_to_mmsegmentation(name):
    """The stem's biases are folded into BatchNorm on the way."""
    state = golden_data.state_dict(golden_data.keys("official")[name])
    image = golden_data.image(64, 128)
    expected = logits_of(name, state, image)
    got = logits_of(name, from_ddrnet(to_ddrnet(state), "mmseg"), image)
    for logits, reference in zip(got, expected, strict=True):
        assert golden_data.relative_error(logits, reference) < 1e-5


@pytest.mark.parametrize(
    "name", ["ddrnet_23_slim", pytest.param("ddrnet_39", marks=pytest.mark.slow)]
)
def test_logits_survive_the_file(name, tmp_path):
    state = golden_data.state_dict(golden_data.keys("supergradients")[name])
    content = {"net": {f"module.{key}": tensor for key, tensor in state.items()}}
    torch.save(content, tmp_path / "a.pth")
    image = golden_data.image(64, 64)
    got = logits_of(name, read_state_dict(tmp_path / "a.pth"), image)
    assert all(map(torch.equal, got, logits_of(name, state, image)))


@pytest.mark.parametrize(
    "name",
    [
        "ddrnet_23_slim",
        pytest.param("ddrnet_23", marks=pytest.mark.slow),
        pytest.param("ddrnet_39", marks=pytest.mark.slow),
    ],
)
def test_a_classifier_transfers_bit_for_bit(name):
    state = golden_data.state_dict(golden_data.keys("official")[f"{name}.classification"])
    model = DDRNet(VARIANTS[name], aux_head=True)
    fit = fit_state_dict(to_ddrnet(state), model.state_dict())
    model.load_state_dict(fit.state, strict=True)
    kept = {key: state[key] for key in state if not re.match("down5|last_layer|linear", key)}
    renamed = to_ddrnet(kept)
    assert len(renamed) == len(kept) == {"ddrnet_39": 422}.get(name, 254)
    assert all(torch.equal(model.state_dict()[key], renamed[key]) for key in renamed)
