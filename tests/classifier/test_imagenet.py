"""The classifier held against the published one, and the contract of timm's models."""

import copy
import math
import pickle

import golden_data
import pytest
import timm
import torch
from own_sizes import SMALL_CLASSIFIER
from torch import nn

import ddrnet
from ddrnet.classifier import DDRNetClassifier
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS

NANO = VARIANTS["ddrnet_23_nano"]
CONFIGS = {**VARIANTS, "small": SMALL_CLASSIFIER}


def images(height, width, *, n=2, channels=3):
    return torch.randn(n, channels, height, width)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("ddrnet_23_slim", 7_574_664), ("ddrnet_23", 28_216_616), ("ddrnet_39", 40_130_344)],
)
def test_has_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = DDRNetClassifier(VARIANTS[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("size", [(224, 224), (33, 65), (1, 1)])
def test_any_size_is_classified(small, size, device):
    model = small.eval().to(device)
    x = images(*size).to(device)
    with torch.no_grad():
        features = model.forward_features(x)
        assert features.shape == (2, 128, *(math.ceil(side / 32) for side in size))
        pooled = model.forward_head(features, pre_logits=True)
        torch.testing.assert_close(pooled, features.mean((2, 3)))
        assert torch.equal(model(x), model.classifier(pooled))


def test_the_head_can_be_replaced(small):
    x, like = images(64, 64), small.eval().double().conv_head[0].weight
    x = x.double()
    small.reset_classifier(0)
    assert small(x).shape == (2, small.head_hidden_size) == (2, 128)
    assert isinstance(small.get_classifier(), nn.Identity)
    small.reset_classifier(3, "catavgmax")
    assert small.head_hidden_size == small.get_classifier().in_features == 256
    small.reset_classifier(5)
    assert small(x).shape == (2, 5)
    assert small.get_classifier().weight.dtype == like.dtype
    assert not any(module.training for module in small.modules())
    small.reset_classifier(0, "")
    assert small(x).shape == (2, 128, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_chans": 0}, "in_chans is at least 1, got 0"),
        ({"num_classes": -1}, r"num_classes is 0, or from 1 up .* got -1"),
        ({"global_pool": ""}, r"got 1000 with global_pool=''"),
    ],
)
def test_arguments_that_make_no_classifier_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        DDRNetClassifier(SMALL_CLASSIFIER, **arguments)


def test_dropout_drops_pooled_features_in_training_only():
    model = DDRNetClassifier(SMALL_CLASSIFIER, num_classes=0, drop_rate=0.5)
    features = torch.ones(2, 128, 1, 1)
    assert set(model.forward_head(features).flatten().tolist()) == {0, 2}
    assert set(model.eval().forward_head(features).flatten().tolist()) == {1}


def test_device_and_type_of_the_parameters():
    model = DDRNetClassifier(NANO, device="meta", dtype=torch.float16)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("coarse", [False, True])
def test_groups_of_layers_follow_the_data(name, coarse):
    with torch.device("meta"):
        model = DDRNetClassifier(CONFIGS[name])
    groups = timm.models.group_parameters(model, model.group_matcher(coarse), reverse=True)
    order = ["stem.0.weight", "trunk.0.0.conv1.weight", "trunk.1.0.conv1.weight"]
    stages = range(len(CONFIGS[name].fusion_stages))
    order += [f"fusion_stages.{index}.high_res.0.conv1.weight" for index in stages]
    order += ["low_res_tail.0.conv1.weight", "classifier.weight"]
    numbers = [groups[key] for key in order]
    assert numbers == sorted(set(numbers))
    assert groups["high_res_tail.0.conv1.weight"] == groups["low_res_tail.0.conv1.weight"]
    for index in stages:
        stage = f"fusion_stages.{index}."
        last = groups[f"{stage}high_res.{CONFIGS[name].fusion_stages[index].depth - 1}.bn1.bias"]
        assert (
            groups[f"{stage}low_to_high.0.weight"] == groups[f"{stage}high_to_low.0.weight"] == last
        )
    assert model.no_weight_decay() == set()


def test_loads_what_it_saved(small, tmp_path):
    torch.save({"state_dict": small.state_dict(), "epoch": 3}, tmp_path / "own.pth")
    again = DDRNetClassifier(SMALL_CLASSIFIER, num_classes=7)
    again.load_pretrained(tmp_path / "own.pth")
    x = images(64, 64)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), small.eval()(x))


def test_an_error_in_loading_changes_nothing(small, tmp_path):
    state = small.state_dict()
    before = {key: tensor.clone() for key, tensor in state.items()}
    lost = {key: 2 * tensor for key, tensor in state.items() if key != "conv_head.1.bias"}
    torch.save(lost, tmp_path / "lost.pth")
    with pytest.raises(CheckpointError, match=r"1 missing \(conv_head\.1\.bias\)"):
        small.load_pretrained(tmp_path / "lost.pth")
    assert all(torch.equal(small.state_dict()[key], before[key]) for key in before)


def test_the_segmentation_network_takes_its_backbone(tmp_path):
    classifier, model = DDRNetClassifier(NANO), DDRNet(NANO)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    ddrnet.load_checkpoint(model, tmp_path / "classifier.pth")
    state, source = model.state_dict(), classifier.state_dict()
    shared = [key for key in source if key in state]
    assert len(shared) == 254
    assert all(torch.equal(state[key], source[key]) for key in shared)


@pytest.mark.slow
def test_compiles_as_one_graph(small):
    model, x = small.double(), images(64, 64).double()
    eager = copy.deepcopy(model)(x)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    assert golden_data.relative_error(compiled, eager) < 1e-9


def test_exports(small):
    x = images(64, 96)
    small.eval()
    with torch.no_grad():
        assert torch.equal(torch.export.export(small, (x,)).module()(x), small(x))


def test_traces_symbolically(small):
    graph = torch.fx.symbolic_trace(small.eval())
    for size in ((64, 96), (65, 33)):
        x = images(*size)
        with torch.no_grad():
            assert torch.equal(graph(x), small(x))


def test_survives_copy_and_pickle(small):
    x = images(64, 64)
    with torch.no_grad():
        expected = small.eval()(x)
        assert torch.equal(copy.deepcopy(small)(x), expected)
        assert torch.equal(pickle.loads(pickle.dumps(small))(x), expected)
