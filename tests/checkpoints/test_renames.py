import logging
import re

import golden_data
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from own_sizes import own_configs

from ddrnet.checkpoints import describe, from_ddrnet, to_ddrnet
from ddrnet.classifier import DDRNetClassifier
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import CLASSIFIER, VARIANTS

MODELS = ("ddrnet_23_slim", "ddrnet_23", "ddrnet_39")
PUBLISHED = [
    (family, model)
    for family in ("official", "supergradients", "mmseg")
    for model in golden_data.keys(family)
    if "." not in model
]


def marked(shapes):
    """A state dict whose tensors tell where they came from."""
    return {key: torch.full((1,), index) for index, key in enumerate(shapes)}


def network_state(config, **options):
    with torch.device("meta"):
        return marked(DDRNet(config, **options).state_dict())


def meta_state(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def shapes_of(state):
    return {key: list(tensor.shape) for key, tensor in state.items()}


def assert_identical(got, expected):
    assert got.keys() == expected.keys()
    assert all(got[key] is expected[key] for key in expected)


@pytest.mark.parametrize(("family", "model"), PUBLISHED)
def test_published_models_get_the_networks_names_and_shapes(family, model):
    ours = to_ddrnet(meta_state(golden_data.keys(family)[model]))
    with torch.device("meta"):
        expected = DDRNet(VARIANTS[model], aux_head=True).state_dict()
    assert shapes_of(ours) == shapes_of(expected)


@pytest.mark.parametrize(("family", "model"), PUBLISHED)
def test_the_network_gets_the_published_names_and_shapes(family, model):
    with torch.device("meta"):
        state = DDRNet(VARIANTS[model], aux_head=True).state_dict()
    theirs = {key: torch.zeros(tensor.shape) for key, tensor in state.items()}
    assert shapes_of(from_ddrnet(theirs, family)) == golden_data.keys(family)[model]


@pytest.mark.parametrize("model", MODELS)
def test_two_families_agree_through_ours(model):
    """Official names become super-gradients names by rules written down independently."""
    official = marked(golden_data.keys("official")[model])
    expected = {_supergradients_name(key): tensor for key, tensor in official.items()}
    assert expected.keys() == golden_data.keys("supergradients")[model].keys()
    assert_identical(from_ddrnet(to_ddrnet(official), "supergradients"), expected)


def _supergradients_name(key):
    key = re.sub(r"^(layer\w+\.\d+)\.downsample\.", r"\1.shortcut.", key)
    rules = (
        (r"^layer3_(\d)_\.", lambda m: f"layer3_skip.{int(m[1]) - 1}."),
        (r"^(layer|compression|down)3_(\d)\.", lambda m: f"{_root(m[1])}3.{int(m[2]) - 1}."),
        (r"^layer3_\.", "layer3_skip.0."),
        (r"^(layer|compression|down)3\.", lambda m: f"{_root(m[1])}3.0."),
        (r"^conv1\.(\d)\.", lambda m: f"_backbone.stem.{int(m[1]) // 3}.{int(m[1]) % 3}."),
        (r"^layer([124])\.", r"_backbone.layer\1."),
        (r"^layer([45])_\.", r"layer\1_skip."),
        (r"^down4\.(\d)\.", lambda m: f"down4.{int(m[1]) // 3}.{int(m[1]) % 3}."),
        (r"^spp\.scale(\d)\.", r"spp.branches.\1.down_scale."),
        (r"^spp\.process(\d)\.", r"spp.branches.\1.process."),
    )
    for pattern, replacement in rules:
        if re.search(pattern, key):
            return re.sub(pattern, replacement, key)
    return key


def _root(part):
    return f"_backbone.{part}" if part == "layer" else part


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("model", ["ddrnet_23_slim", "ddrnet_23"])
def test_old_supergradients_names_are_the_same_tensors(model, version):
    new = marked(golden_data.keys("supergradients")[model])
    old = {_old_name(key, version): tensor for key, tensor in new.items()}
    assert old.keys() == golden_data.keys("supergradients")[f"{model}.{version}"].keys()
    assert_identical(to_ddrnet(old), to_ddrnet(new))


def _old_name(key, version):
    key = re.sub(r"^(_backbone\.layer3|layer3_skip|compression3|down3)\.0\.", r"\1.", key)
    return key.replace("_backbone.", "backbone.") if version == "v0" else key


@pytest.mark.parametrize("family", ["official", "supergradients", "ddrnet"])
@pytest.mark.parametrize("aux_head", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_there_and_back_gives_the_same_tensors(name, aux_head, family):
    state = network_state(VARIANTS[name], aux_head=aux_head)
    assert_identical(to_ddrnet(from_ddrnet(state, family)), state)


@pytest.mark.parametrize(("family", "model"), PUBLISHED)
def test_here_and_back_gives_the_same_tensors(family, model):
    state = marked(golden_data.keys(family)[model])
    assert_identical(from_ddrnet(to_ddrnet(state), family), state)


def test_mmsegmentation_and_back_is_bit_identical():
    state = golden_data.state_dict(golden_data.keys("mmseg")["ddrnet_23_slim"])
    state["backbone.stem.0.bn.running_mean"][0] = -0.0
    back = from_ddrnet(to_ddrnet(state), "mmseg")
    assert_identical(back, state)


def test_mmsegmentations_stem_gets_zero_biases():
    state = meta_state(golden_data.keys("mmseg")["ddrnet_23_slim"])
    state["backbone.stem.0.conv.weight"] = torch.ones(32, 3, 3, 3, dtype=torch.float16)
    ours = to_ddrnet(state)
    assert torch.equal(ours["stem.0.bias"], torch.zeros(32, dtype=torch.float16))
    assert ours["stem.3.bias"].shape == (32,)
    assert "stem.0.bias" not in to_ddrnet({"conv1.0.weight": torch.ones(1), **_FUSION})


_FUSION = {"compression3.0.weight": torch.ones(1)}


def test_a_bias_that_is_there_stays():
    """Converted backbone files of mmsegmentation may have kept the biases of the stem."""
    bias = torch.ones(32)
    keys = golden_data.keys("mmseg")["ddrnet_23_slim"]
    state = {key.removeprefix("backbone."): value for key, value in meta_state(keys).items()}
    assert to_ddrnet({**state, "stem.0.conv.bias": bias})["stem.0.bias"] is bias


@pytest.mark.parametrize("model", ["ddrnet_23_slim", "ddrnet_23"])
def test_mmsegmentations_backbone_may_lack_its_prefix(model):
    state = marked(golden_data.keys("mmseg")[model])
    backbone = {key: value for key, value in state.items() if key.startswith("backbone.")}
    bare = {key.removeprefix("backbone."): value for key, value in backbone.items()}
    leftovers = {"linear.weight": torch.ones(1), "down5.0.weight": torch.ones(1)}
    expected, got = to_ddrnet(backbone), to_ddrnet(bare | leftovers)
    biases = {"stem.0.bias", "stem.3.bias"}
    assert got.keys() == expected.keys()
    assert all(got[key] is expected[key] for key in expected.keys() - biases)


@pytest.mark.parametrize(("model", "count"), [*zip(MODELS, (254, 254, 422), strict=True)])
def test_a_classifier_keeps_its_backbone(model, count):
    state = marked(golden_data.keys("official")[f"{model}.classification"])
    backbone = {k: v for k, v in to_ddrnet(state).items() if not k.startswith(CLASSIFIER)}
    assert len(backbone) == count
    assert len(state) == count + 20
    assert describe(backbone).is_backbone
    expected = network_state(VARIANTS[model])
    assert backbone.keys() <= expected.keys()
    assert all(key.startswith(("dappm.", "head.")) for key in expected.keys() - backbone.keys())


@pytest.mark.parametrize("model", MODELS)
def test_a_classifier_gets_the_networks_names_and_shapes_and_goes_back(model):
    shapes = golden_data.keys("official")[f"{model}.classification"]
    with torch.device("meta"):
        expected = DDRNetClassifier(VARIANTS[model]).state_dict()
    ours = to_ddrnet(meta_state(shapes))
    assert shapes_of(ours) == shapes_of(expected)
    assert shapes_of(from_ddrnet(ours, "official")) == shapes


@pytest.mark.parametrize("family", ["supergradients", "mmseg"])
def test_other_families_have_no_classifier(family, caplog):
    state = golden_data.state_dict(golden_data.keys("official")["ddrnet_23.classification"])
    ours = to_ddrnet(state)
    backbone = {key: ours[key] for key in ours if not key.startswith(CLASSIFIER)}
    with caplog.at_level(logging.INFO, "ddrnet"):
        theirs = from_ddrnet(ours, family)
    assert theirs.keys() == from_ddrnet(backbone, family).keys()
    assert "left out high_to_low.0.weight" in caplog.text


def _network(config):
    """Return a network in evaluation mode that holds no default value."""
    model = DDRNet(config, aux_head=True).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return model


def test_the_fold_into_batch_norm_keeps_the_logits(caplog):
    model = _network(VARIANTS["ddrnet_23_nano"])
    state = model.state_dict()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = model(images)
        with caplog.at_level(logging.INFO, "ddrnet"):
            theirs = from_ddrnet(state, "mmseg")
        model.load_state_dict(to_ddrnet(theirs))
        got = model(images)
    assert len(state) == len(theirs) + 2
    assert "stem.3.bias" in caplog.text
    assert golden_data.relative_error(got.logits, expected.logits) < 1e-5
    assert golden_data.relative_error(got.aux_logits, expected.aux_logits) < 1e-5


def test_the_fold_changes_no_input_and_keeps_the_dtype():
    state = _network(VARIANTS["ddrnet_23_nano"]).half().state_dict()
    before = {key: tensor.clone() for key, tensor in state.items()}
    theirs = from_ddrnet(state, "mmseg")
    assert theirs["backbone.stem.0.bn.running_mean"].dtype == torch.float16
    assert all(torch.equal(tensor, before[key]) for key, tensor in state.items())


def test_without_biases_there_is_nothing_to_say(caplog):
    state = golden_data.state_dict(golden_data.keys("mmseg")["ddrnet_23_slim"])
    with caplog.at_level(logging.INFO, "ddrnet"):
        from_ddrnet(to_ddrnet(state), "mmseg")
    assert not caplog.records


@pytest.mark.parametrize("aux_head", [False, True])
def test_mmsegmentation_has_no_39(aux_head):
    state = network_state(VARIANTS["ddrnet_39"], aux_head=aux_head)
    with pytest.raises(CheckpointError, match=r"mmseg has no DDRNet.*16, 16, 32.*the 23 sizes"):
        from_ddrnet(state, "mmseg")


def test_unknown_names_pass_in_and_are_refused_out():
    state = marked(golden_data.keys("official")["ddrnet_23"])
    assert "extra.weight" in to_ddrnet({**state, "extra.weight": torch.ones(1)})
    ours = to_ddrnet(state)
    with pytest.raises(CheckpointError, match=r"no name for extra\.weight, trunk\.7\.x"):
        from_ddrnet({**ours, "extra.weight": torch.ones(1), "trunk.7.x": torch.ones(1)}, "official")


@pytest.mark.parametrize("family", ["official", "mmseg", "supergradients", "ddrnet"])
def test_only_own_names_go_out(family):
    state = marked(golden_data.keys("official")["ddrnet_23"])
    with pytest.raises(CheckpointError, match="got those of official: call to_ddrnet first"):
        from_ddrnet(state, family)


@pytest.mark.parametrize("family", ["official", "mmseg", "supergradients"])
def test_a_network_without_fusion_stages_has_no_other_names(family):
    with pytest.raises(CheckpointError, match=r"at strides \(none\)"):
        from_ddrnet({"stem.0.weight": torch.ones(1)}, family)


def test_two_tensors_of_one_name_raise():
    state = marked(golden_data.keys("official")["ddrnet_23"])
    with pytest.raises(CheckpointError, match=r"two .* stem\.0\.weight"):
        to_ddrnet({**state, "stem.0.weight": torch.ones(1)})


@given(own_configs(), st.booleans())
def test_own_sizes_go_to_official_names_and_back(config, aux_head):
    state = network_state(config, aux_head=aux_head)
    theirs = from_ddrnet(state, "official")
    assert len(theirs) == len(state)
    assert_identical(to_ddrnet(theirs), state)


def test_backbones_go_both_ways():
    state = {
        key: tensor
        for key, tensor in network_state(VARIANTS["ddrnet_39"]).items()
        if not key.startswith(("dappm.", "head."))
    }
    for family in ("official", "supergradients"):
        assert_identical(to_ddrnet(from_ddrnet(state, family)), state)
