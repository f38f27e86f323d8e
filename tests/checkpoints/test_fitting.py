import dataclasses
import logging

import golden_data
import pytest
import torch
from timm.models import adapt_input_conv

from ddrnet.checkpoints import fit_state_dict, to_ddrnet
from ddrnet.classifier import DDRNetClassifier
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS, DDRNetConfig

NANO = VARIANTS["ddrnet_23_nano"]
CLASSIFIERS = ("head.conv2.weight", "head.conv2.bias")
AUX_CLASSIFIERS = ("aux_head.conv2.weight", "aux_head.conv2.bias")


def states(config=NANO, *, held=None, built=None):
    """A file's state dict and a model's, with different numbers."""
    file = DDRNet(config, **(held or {})).state_dict()
    return file, DDRNet(config, **(built or {})).state_dict()


def assert_comes_from(fit, file, target, initialised):
    assert list(fit.state) == list(target)
    assert set(fit.initialised) == set(initialised)
    for key in target:
        assert fit.state[key] is (target[key] if key in initialised else file[key]), key


@pytest.fixture(autouse=True)
def messages(caplog):
    caplog.set_level(logging.INFO, "ddrnet")
    return caplog


@pytest.mark.parametrize("aux_head", [False, True])
def test_a_state_dict_of_the_same_form_is_taken_whole(aux_head, messages):
    file, target = states(held={"aux_head": aux_head}, built={"aux_head": aux_head})
    fit = fit_state_dict(dict(reversed(file.items())), target)
    assert_comes_from(fit, file, target, ())
    assert fit.dropped == ()
    assert not messages.records


def test_other_classes_leave_the_last_convolutions(messages):
    both = {"aux_head": True}
    file, target = states(held=both, built={**both, "num_classes": 5})
    fit = fit_state_dict(file, target)
    assert_comes_from(fit, file, target, CLASSIFIERS + AUX_CLASSIFIERS)
    assert "19 classes, the model 5" in messages.text
    assert all(key in messages.text for key in fit.initialised)


def test_an_auxiliary_head_that_the_file_lacks_stays(messages):
    file, target = states(built={"aux_head": True})
    fit = fit_state_dict(file, target)
    assert_comes_from(fit, file, target, [key for key in target if key.startswith("aux_head.")])
    assert len(fit.initialised) == 13
    assert [record.levelname for record in messages.records] == ["WARNING"]
    assert "no aux_head" in messages.text


def test_an_auxiliary_head_that_the_model_lacks_is_dropped_silently(messages):
    file, target = states(held={"aux_head": True})
    fit = fit_state_dict(file, target)
    assert_comes_from(fit, file, target, ())
    assert set(fit.dropped) == file.keys() - target.keys()
    assert not messages.records


@pytest.mark.parametrize("aux_head", [False, True])
@pytest.mark.parametrize(
    ("model", "count"), [("ddrnet_23_slim", 254), ("ddrnet_23", 254), ("ddrnet_39", 422)]
)
def test_a_classifier_fills_the_backbone(model, count, aux_head, messages):
    file = to_ddrnet(_marked(golden_data.keys("official")[f"{model}.classification"]))
    with torch.device("meta"):
        target = DDRNet(VARIANTS[model], num_classes=7, aux_head=aux_head).state_dict()
    fit = fit_state_dict(file, target)
    assert_comes_from(fit, file, target, target.keys() - file.keys())
    assert len(fit.state) - len(fit.initialised) == count
    assert {key.partition(".")[0] for key in fit.initialised} <= {"dappm", "head", "aux_head"}
    assert len(messages.records) == 1
    assert "no dappm" in messages.text
    assert ("aux_head" in messages.text) == aux_head


@pytest.mark.parametrize("built", [{}, {"num_classes": 5}, {"num_classes": 0}, {"in_chans": 1}])
def test_a_classifier_fills_a_classifier(built, messages):
    file = DDRNetClassifier(NANO).state_dict()
    target = DDRNetClassifier(NANO, **built).state_dict()
    fit = fit_state_dict(file, target)
    other_classes = ("classifier.weight", "classifier.bias") if built.get("num_classes") else ()
    assert fit.initialised == other_classes
    assert fit.state.keys() == target.keys()
    assert set(fit.dropped) == file.keys() - target.keys()
    adapted = {"stem.0.weight"} if "in_chans" in built else set()
    for key in fit.state.keys() - {*other_classes} - adapted:
        assert fit.state[key] is file[key]
    assert ("1000 classes, the model 5" in messages.text) == bool(other_classes)


@pytest.mark.parametrize("lost", ["classifier.bias", "high_to_low.", "conv_head.1.running_mean"])
def test_a_classifier_must_be_whole(lost):
    file = DDRNetClassifier(NANO).state_dict()
    kept = {key: file[key] for key in file if not key.startswith(lost)}
    with pytest.raises(CheckpointError, match=rf"missing \({lost}"):
        fit_state_dict(kept, file)


def test_a_classifiers_layers_beside_a_segmentation_head_are_left_over():
    file, target = states()
    file["classifier.bias"] = torch.ones(3)
    with pytest.raises(CheckpointError, match=r"1 left over \(classifier\.bias 3\)"):
        fit_state_dict(file, target)


@pytest.mark.parametrize("aux_head", [False, True])
def test_a_segmentation_network_is_no_classifier(aux_head):
    file = DDRNet(NANO, aux_head=aux_head).state_dict()
    with pytest.raises(CheckpointError, match=r"20 missing.*left over \(dappm"):
        fit_state_dict(file, DDRNetClassifier(NANO).state_dict())


def _marked(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("in_chans", [1, 2, 4, 7])
def test_the_first_convolution_is_adapted_by_timms_rule(in_chans, dtype, messages):
    file, target = states(built={"in_chans": in_chans})
    file["stem.0.weight"] = file["stem.0.weight"].to(dtype)
    before = file["stem.0.weight"].clone()
    fit = fit_state_dict(file, target)
    adapted = fit.state["stem.0.weight"]
    assert adapted.shape == target["stem.0.weight"].shape
    assert adapted.dtype == dtype
    assert torch.equal(adapted, adapt_input_conv(in_chans, before))
    assert torch.equal(file["stem.0.weight"], before)
    assert fit.initialised == ()
    assert f"from 3 to {in_chans} channels" in messages.text


def test_a_grey_image_answers_as_its_rgb_copy_did():
    file, target = states(built={"in_chans": 1})
    adapted = fit_state_dict(file, target).state["stem.0.weight"]
    grey = torch.randn(1, 1, 8, 8)
    expected = torch.conv2d(grey.expand(1, 3, 8, 8), file["stem.0.weight"])
    torch.testing.assert_close(torch.conv2d(grey, adapted), expected)


@pytest.mark.parametrize(("held", "built"), [(4, 3), (1, 3), (4, 1)])
def test_only_rgb_can_be_adapted(held, built):
    file, target = states(held={"in_chans": held}, built={"in_chans": built})
    with pytest.raises(CheckpointError, match=rf"{held} channels.*in_chans={held}"):
        fit_state_dict(file, target)
    file, target = states(held={"in_chans": held}, built={"in_chans": held})
    assert_comes_from(fit_state_dict(file, target), file, target, ())


@pytest.mark.parametrize("held", VARIANTS)
@pytest.mark.parametrize("built", VARIANTS)
@pytest.mark.parametrize("backbone", [False, True])
def test_another_size_is_named(held, built, backbone):
    if held == built:
        return
    with torch.device("meta"):
        file = DDRNet(VARIANTS[held]).state_dict()
        target = DDRNet(VARIANTS[built], num_classes=2, aux_head=True).state_dict()
    if backbone:
        file = {key: file[key] for key in file if not key.startswith(("dappm.", "head."))}
    with pytest.raises(CheckpointError, match=rf"is a {held}, the model is a {built}: .*'{held}'"):
        fit_state_dict(file, target)


def test_an_own_size_is_described():
    own = DDRNetConfig(8, (1, 1), ((16, 1),), 8, 8)
    file, target = DDRNet(own).state_dict(), DDRNet(NANO).state_dict()
    with pytest.raises(CheckpointError, match=r"is a ddrnet_23_nano.*register_model") as error:
        fit_state_dict(file, target)
    assert repr(own) in str(error.value)
    with pytest.raises(CheckpointError, match=r"is a ddrnet_23_nano, the model is a DDRNetConfig"):
        fit_state_dict(target, file)


def test_an_own_size_that_differs_in_a_block_is_told_by_its_tensors():
    file = DDRNet(dataclasses.replace(NANO, trunk_depths=(2, 3))).state_dict()
    target = DDRNet(NANO).state_dict()
    with pytest.raises(CheckpointError, match=r"12 left over \(trunk\.1\.2\.conv1\.weight 32 x"):
        fit_state_dict(file, target)


def test_every_misfit_is_named():
    file, target = states(held={"aux_head": True}, built={"aux_head": True})
    missing = ["trunk.0.0.bn1.bias", "dappm.merge.0.weight", "aux_head.conv2.bias"]
    for key in missing:
        del file[key]
    file["criterion2.weight"] = torch.ones(19)
    file["extra"] = torch.tensor(1)
    file["head.bn1.weight"] = torch.ones(3)
    file["head.conv2.weight"] = torch.ones(5, 16, 1, 1)
    with pytest.raises(CheckpointError) as error:
        fit_state_dict(file, target)
    message = str(error.value)
    assert f"3 missing ({', '.join(sorted(missing, key=list(target).index))})" in message
    assert "2 left over (criterion2.weight 19, extra scalar)" in message
    assert "2 of another shape (" in message
    assert "head.bn1.weight is 3, expected 64" in message
    assert "head.conv2.weight is 5 x 16 x 1 x 1, expected 19 x 32 x 1 x 1" in message


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_no_floating_point_numbers_are_named(dtype):
    file, target = states()
    weight = file["trunk.0.0.conv1.weight"]
    file["trunk.0.0.conv1.weight"] = weight.to(dtype)
    with pytest.raises(CheckpointError, match=rf"1 of another type \(trunk.*{dtype}, expected"):
        fit_state_dict(file, target)


def test_a_counter_may_have_been_halved_with_the_weights():
    file, target = states()
    halved = {key: tensor.half() for key, tensor in file.items()}
    assert fit_state_dict(halved, target).state == halved


def test_tensors_without_values_are_named():
    file, target = states()
    file["stem.0.bias"] = file["stem.0.bias"].to("meta")
    with pytest.raises(CheckpointError, match=r"1 without values \(stem\.0\.bias\)"):
        fit_state_dict(file, target)


@pytest.mark.parametrize(
    "lost",
    [
        "head.",
        "dappm.",
        "stem.0.weight",
        "stem.1.num_batches_tracked",
        "fusion_stages.1.",
        "trunk.",
    ],
)
def test_nothing_else_may_be_missing(lost):
    file, target = states()
    gone = [key for key in file if key.startswith(lost)]
    with pytest.raises(CheckpointError, match=rf"{len(gone)} missing") as error:
        fit_state_dict({key: file[key] for key in file if key not in gone}, target)
    assert all(key in str(error.value) for key in gone)


@pytest.mark.parametrize("lost", ["stem.0.weight", "trunk.1.1.", "high_res_tail."])
def test_a_backbone_must_be_whole(lost):
    file, target = states()
    kept = [key for key in file if not key.startswith(("dappm.", "head.", lost))]
    with pytest.raises(CheckpointError, match="missing"):
        fit_state_dict({key: file[key] for key in kept}, target)


def test_part_of_an_auxiliary_head_is_not_enough():
    file, target = states(held={"aux_head": True}, built={"aux_head": True})
    del file["aux_head.bn1.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing \(aux_head\.bn1\.weight\)"):
        fit_state_dict(file, target)


def test_inputs_stay_as_they_are():
    file, target = states(held={"aux_head": True}, built={"num_classes": 5, "in_chans": 4})
    copies = dict(file), dict(target)
    numbers = [{key: tensor.clone() for key, tensor in state.items()} for state in copies]
    fit_state_dict(file, target)
    for state, copy, values in zip((file, target), copies, numbers, strict=True):
        assert state == copy or list(state) == list(copy)
        assert all(state[key] is copy[key] for key in copy)
        assert all(torch.equal(state[key], values[key]) for key in values)


@pytest.mark.parametrize("key", ["stem.0.weight", "stem.1.running_var", "head.conv2.bias"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_named(key, value):
    file, target = states()
    file[key] = file[key].clone()
    file[key].view(-1)[-1] = value
    with pytest.raises(CheckpointError, match=rf"NaN or infinite values \({key}\)"):
        fit_state_dict(file, target)


def test_the_models_own_values_need_not_be_numbers():
    file, target = states(built={"num_classes": 5})
    target["head.conv2.bias"] = torch.full_like(target["head.conv2.bias"], torch.nan)
    assert "head.conv2.bias" in fit_state_dict(file, target).initialised
