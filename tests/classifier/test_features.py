"""The five features: their shapes, their order, and the layers that each of them needs."""

import copy
import itertools

import pytest
import torch
from own_sizes import SMALL_CLASSIFIER
from timm.models import FeatureInfo

from ddrnet.classifier import DDRNetClassifier
from ddrnet.variants import VARIANTS, DDRNetConfig

CONFIGS = {**VARIANTS, "small": SMALL_CLASSIFIER}
SUBSETS = [subset for count in range(1, 6) for subset in itertools.combinations(range(5), count)]


def images(height, width):
    return torch.randn(2, 3, height, width)


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
        DDRNetClassifier(SMALL_CLASSIFIER, output_stride=output_stride)


def test_a_network_that_ends_at_another_stride_is_no_classifier():
    config = DDRNetConfig(8, (1, 1), ((16, 1),), 8, 8)
    with pytest.raises(ValueError, match=r"end at stride 32, got \[16\]"):
        DDRNetClassifier(config)


def test_dilation_changes_nothing_before_the_last_stage():
    strided = DDRNetClassifier(SMALL_CLASSIFIER).eval()
    dilated = DDRNetClassifier(SMALL_CLASSIFIER, output_stride=16).eval()
    dilated.load_state_dict(strided.state_dict())
    x = images(64, 96)
    with torch.no_grad():
        _, expected = strided.forward_intermediates(x)
        _, got = dilated.forward_intermediates(x)
    assert all(torch.equal(got[index], expected[index]) for index in (0, 1, 3))
    assert got[4].shape[-2:] == (4, 6)


def test_no_feature_is_too_few(small):
    for choose in (
        small.prune_intermediate_layers,
        lambda _: small.forward_intermediates(None, []),
    ):
        with pytest.raises(ValueError, match="no feature is chosen"):
            choose([])


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
