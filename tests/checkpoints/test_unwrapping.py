import collections

import pytest
import torch
from torch import nn

from ddrnet.checkpoints.pickles import StandIn
from ddrnet.checkpoints.unwrapping import WRAPPERS, unwrap
from ddrnet.errors import CheckpointError

ONE, TWO = torch.tensor(1.0), torch.tensor(2.0)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_unwraps_training_dictionaries(wrapper):
    content = {"epoch": 3, wrapper: {"a": ONE}, "optimizer": {"state": {0: {"momentum": TWO}}}}
    assert unwrap(content) == {"a": ONE}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"acc": TWO, "net": {"a": ONE}}, "a tensor beside the network"),
        ({"state_dict": {"model": {"a": ONE}}}, "nested"),
        ({"net": {"a": TWO}, "ema_net": {"a": ONE}}, "super-gradients' average"),
        ({"state_dict": {"a": TWO}, "state_dict_ema": {"a": ONE}}, "timm's average"),
        ({"model": {"a": TWO}, "model_ema": {"n_averaged": TWO, "module.a": ONE}}, "torchvision's"),
        ({"model": {"a": TWO}, "ema": {"module": {"a": ONE}, "updates": 9}}, "a nested average"),
        ({"model": {"a": ONE}, "ema": {"decay": 0.99, "shadow": {"b": TWO}}}, "of other names"),
        ({"state_dict": {"a": ONE}, "ema_state_dict": {"a": TWO}}, "mmengine swaps them"),
        ({"net": {"a": ONE}, "ema_net": None}, "an empty wrapper"),
        ({"model": {}, "state_dict": {"a": ONE}}, "another empty one"),
        ({"model": "ddrnet_23", "weights": {"a": ONE}}, "a name that is no wrapper here"),
        ({"a": ONE, "epoch": 3, "name": "x", 7: TWO}, "what is no tensor or has no name"),
        (collections.OrderedDict(a=ONE), "another mapping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_finds_the_network(content, why):
    assert unwrap(content) == {"a": ONE}, why


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "_orig_mod.", "net.", "module.model.", "model._orig_mod.module."],
)
def test_strips_prefixes(prefix):
    content = {f"{prefix}conv1.0.weight": ONE, f"{prefix}down3.module.bias": TWO}
    assert unwrap(content) == {"conv1.0.weight": ONE, "down3.module.bias": TWO}


@pytest.mark.parametrize(
    "key",
    [
        "stem._orig_mod.0.weight",
        "_orig_mod.stem._checkpoint_wrapped_module.0.weight",
        "_fsdp_wrapped_module.model.stem._fsdp_wrapped_module.0.weight",
    ],
)
def test_strips_what_torch_inserts_anywhere(key):
    assert unwrap({key: ONE}) == {"stem.0.weight": ONE}


def test_knows_the_names_that_torch_inserts():
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper

    part = nn.Sequential(nn.Linear(1, 1), torch.compile(nn.Linear(1, 1), backend="eager"))
    part[0] = checkpoint_wrapper.CheckpointWrapper(part[0])
    assert list(unwrap(part.state_dict())) == ["0.weight", "0.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize(
    "key",
    [
        "loss.criterion.weight",
        "module.loss.weight",
        "criterion.class_weights",
        "loss_fn.weight",
        "aux_criterion.weight",
        "model.diceLoss.weight",
        "n_averaged",
    ],
)
def test_drops_the_loss(key):
    assert unwrap({"model.a": ONE, key: TWO}) == {"a": ONE}


def test_returns_plain_tensors_with_memory_of_their_own():
    storage = torch.arange(10.0)
    parameter = nn.Parameter(torch.ones(2))
    state = unwrap({"view": storage[2:4], "whole": storage, "parameter": parameter})
    assert type(state["parameter"]) is torch.Tensor
    assert not state["parameter"].requires_grad
    assert state["view"].untyped_storage().nbytes() == 8
    assert state["view"].tolist() == [2, 3]
    assert state["whole"].data_ptr() == storage.data_ptr()


def test_two_tensors_of_one_name_raise():
    with pytest.raises(CheckpointError, match="conv1 twice"):
        unwrap({"module.conv1": ONE, "model.conv1": TWO})


def _endless():
    content = {"epoch": 1}
    content["model"] = content
    return content


class DDRNet(StandIn):
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "entries: none"),
        ({"epoch": 3, "args": "x"}, r"epoch \(int\), args \(str\)"),
        ({"optimizer": {"state": ONE}}, r"optimizer \(dict\)"),
        (_endless(), "no tensors"),
        ([ONE], "list"),
        (ONE, "Tensor"),
        (DDRNet(), r"pickled DDRNet.*state_dict\(\)"),
        ({"epoch": 3, "model": DDRNet()}, r"pickled DDRNet.*state_dict\(\)"),
        ({"loss.weight": ONE}, "no tensors"),
        ({"weight": ONE.to_sparse()}, "no tensors"),
    ],
)
def test_without_tensors_says_what_there_is(content, message):
    with pytest.raises(CheckpointError, match=message):
        unwrap(content)
