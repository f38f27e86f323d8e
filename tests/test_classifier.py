"""The classifier held against the published one, and the contract of timm's models."""

import copy
import itertools
import math
import pickle

import golden_data
import pytest
import timm
import torch
from timm.models import FeatureInfo
from torch import nn

import ddrnet
from ddrnet.classifier import DDRNetClassifier
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS, DDRNetConfig

NANO = VARIANTS["ddrnet_23_nano"]
SMALL = DDRNetConfig(4, (1, 1), ((16, 1), (16, 2), (32, 1)), dappm_width=8, head_width=8)
CONFIGS = {**VARIANTS, "small": SMALL}
SUBSETS = [subset for count in range(1, 6) for subset in itertools.combinations(range(5), count)]


def images(height, width, *, n=2, channels=3):
    return torch.randn(n, channels, height, width)


@pytest.fixture
def small():
    return DDRNetClassifier(SMALL, num_classes=7)


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


@pytest.mark.parametrize("output_stride", [32, 16])
@pytest.mark.parametrize("name", CONFIGS)
def test_five_features_with_the_declared_strides_and_channels(name, output_stride):
    with torch.device("meta"):
        model = DDRNetClassifier(CONFIGS[name], output_stride=output_stride).eval()
        x = images(96, 160)
    info = FeatureInfo(model.feature_info, 5)
    assert info.reduction() == [2, 4, 8, 16, output_stride]
    final, features = model.forward_intermediates(x)
    assert final.shape[1] == model.num_features
    for feature, channels, stride in zip(features, info.channels(), info.reduction(), strict=True):
        assert feature.shape == (2, channels, 96 // stride, 160 // stride)


@pytest.mark.parametrize("indices", SUBSETS, ids=str)
def test_pruning_keeps_the_features_and_only_what_they_need(small, indices):
    x = images(64, 96)
    with torch.no_grad():
        expected = copy.deepcopy(small).forward_intermediates(
            x, [*indices], intermediates_only=True
        )
    assert small.prune_intermediate_layers([*indices]) == [*indices]
    features = small.forward_intermediates(x, [*indices], intermediates_only=True)
    assert all(map(torch.equal, features, expected))
    sum(feature.square().mean() for feature in features).backward()
    without = [name for name, parameter in small.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("index", range(5))
def test_a_pruned_model_ends_at_its_last_feature(small, index):
    small.eval().prune_intermediate_layers([index])
    x = images(64, 96)
    with torch.no_grad():
        final, (feature,) = small.forward_intermediates(x, [index])
        assert torch.equal(final, feature)
        assert torch.equal(small.forward_features(x), feature)
        assert torch.equal(small(x), feature)
        assert small.num_features == small.head_hidden_size == feature.shape[1]
        small.reset_classifier(3, "max")
        assert small(x).shape == (2, 3)


def test_features_come_in_the_order_asked_for(small):
    x = images(64, 96)
    with torch.no_grad():
        small.eval()
        _, features = small.forward_intermediates(x)
        got = small.forward_intermediates(x, [-1, 0, 2], intermediates_only=True)
    assert all(map(torch.equal, got, [features[4], features[0], features[2]]))


@pytest.mark.parametrize("index", range(5))
def test_stopping_early_returns_the_last_feature(small, index):
    x = images(64, 96)
    with torch.no_grad():
        _, features = small.eval().forward_intermediates(x)
        final, (got,) = small.forward_intermediates(x, [index], stop_early=True)
        head = small.conv_head(got) if index == 4 else got
    assert torch.equal(got, features[index])
    assert torch.equal(final, head)


def test_features_that_are_gone_are_named(small):
    small.prune_intermediate_layers([1, 3])
    with pytest.raises(ValueError, match=r"feature 2 was pruned; left are \[1, 3\]"):
        small.forward_intermediates(images(64, 64), [2, 4])
    with pytest.raises(ValueError, match="feature 0 was pruned"):
        small.prune_intermediate_layers([0])
    assert small.prune_intermediate_layers([1]) == [1]


def test_only_one_layout_of_features(small):
    with pytest.raises(ValueError, match="NCHW, got output_fmt='NHWC'"):
        small.forward_intermediates(images(64, 64), output_fmt="NHWC")


@pytest.mark.parametrize("prune_norm", [False, True])
def test_pruning_may_leave_the_head(small, prune_norm):
    x = images(64, 96)
    with torch.no_grad():
        expected = small.eval()(x)
        small.prune_intermediate_layers([4], prune_norm=prune_norm, prune_head=False)
        if prune_norm:
            assert small(x).shape == (2, 64, 2, 3)
        else:
            assert torch.equal(small(x), expected)


@pytest.mark.parametrize("output_stride", [8, 4, 64])
def test_other_output_strides_raise(output_stride):
    with pytest.raises(ValueError, match=f"output_stride is 32 or 16, got {output_stride}"):
        DDRNetClassifier(NANO, output_stride=output_stride)


def test_a_network_that_ends_at_another_stride_is_no_classifier():
    config = DDRNetConfig(8, (1, 1), ((16, 1),), 8, 8)
    with pytest.raises(ValueError, match=r"end at stride 32, got \[16\]"):
        DDRNetClassifier(config)


def test_dilation_changes_nothing_before_the_last_stage():
    strided = DDRNetClassifier(SMALL).eval()
    dilated = DDRNetClassifier(SMALL, output_stride=16).eval()
    dilated.load_state_dict(strided.state_dict())
    x = images(64, 96)
    with torch.no_grad():
        _, expected = strided.forward_intermediates(x)
        _, got = dilated.forward_intermediates(x)
    assert all(torch.equal(got[index], expected[index]) for index in (0, 1, 3))
    assert got[4].shape[-2:] == (4, 6)


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


def test_dropout_drops_pooled_features_in_training_only():
    model = DDRNetClassifier(SMALL, num_classes=0, drop_rate=0.5)
    features = torch.ones(2, 128, 1, 1)
    assert set(model.forward_head(features).flatten().tolist()) == {0, 2}
    assert set(model.eval().forward_head(features).flatten().tolist()) == {1}


@pytest.mark.parametrize("indices", [[4], [2, 3], [0, 1, 2, 3, 4]], ids=str)
def test_gradient_checkpoints_change_no_gradient(small, indices):
    x = images(64, 96)
    gradients = []
    for enable in (False, True):
        model = copy.deepcopy(small)
        model.prune_intermediate_layers(indices)
        model.set_grad_checkpointing(enable)
        features = model.forward_intermediates(x, indices, intermediates_only=True)
        sum(feature.square().mean() for feature in features).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected)


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
    again = DDRNetClassifier(SMALL, num_classes=7)
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
