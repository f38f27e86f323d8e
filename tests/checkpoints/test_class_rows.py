import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.checkpoints import choose_class_rows, fit_state_dict
from ddrnet.checkpoints.class_rows import match_names
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS

NANO = VARIANTS["ddrnet_23_nano"]
KNOWN = ["road", "traffic light", "sky", "car"]


@pytest.fixture(autouse=True)
def messages(caplog):
    caplog.set_level(logging.INFO, "ddrnet")
    return caplog


def states(known, wanted, *, aux_head=(True, True)):
    file = DDRNet(NANO, len(known), aux_head=aux_head[0]).state_dict()
    return file, DDRNet(NANO, len(wanted), aux_head=aux_head[1]).state_dict()


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (["sky", "road"], [2, 0]),
        (["Sky", "Traffic-Light", "traffic_light"], [2, None, None]),
        (["TrafficLight", "tree"], [1, None]),
        (["sky", "SKY"], [2, None]),
        (["trafficlights"], [None]),
        (["…"], [None]),
        (KNOWN, [0, 1, 2, 3]),
    ],
)
def test_names_match_where_they_are_unique(wanted, rows):
    assert match_names(KNOWN, wanted) == rows


def test_only_exact_names_match_where_the_weights_know_two_alike():
    known = ["car", "Car", "sky"]
    assert match_names(known, ["Car", "car", "CAR"]) == [1, 0, None]
    assert match_names(known, ["CAR"]) == [None]


@given(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1), st.permutations("abcdefgh"))
def test_every_row_is_the_one_of_its_name(wanted, known):
    for name, row in zip(wanted, match_names(known, wanted), strict=True):
        assert known[row] == name


def test_known_rows_come_from_the_file_and_others_from_the_model(messages):
    wanted = ["tree", "Sky", "road", "person"]
    file, target = states(KNOWN, wanted)
    chosen = choose_class_rows(file, target, KNOWN, wanted)
    fit = fit_state_dict(chosen.state, target)
    layers = [
        f"{head}.conv2.{kind}" for head in ("head", "aux_head") for kind in ("weight", "bias")
    ]
    assert list(chosen.untrained) == layers
    for key in target:
        if key in layers:
            expected = [target[key][0], file[key][2], file[key][0], target[key][3]]
            assert torch.equal(fit.state[key], torch.stack(expected))
        else:
            assert fit.state[key] is file[key]
    assert "head and aux_head: kept the rows of the classes Sky, road" in messages.text
    assert "do not know the classes tree, person; train their rows" in messages.text
    assert [record.levelname for record in messages.records] == ["INFO", "WARNING"]


def test_where_every_class_is_known_everything_is_trained(messages):
    wanted = ["car", "road"]
    file, target = states(KNOWN, wanted)
    state = {key: tensor.half() for key, tensor in file.items()}
    chosen = choose_class_rows(state, target, KNOWN, wanted)
    assert chosen.untrained == ()
    assert torch.equal(chosen.state["head.conv2.bias"], state["head.conv2.bias"][[3, 0]])
    assert fit_state_dict(chosen.state, target).initialised == ()
    assert [record.levelname for record in messages.records] == ["INFO"]


def test_the_same_classes_change_nothing(messages):
    file, target = states(KNOWN, KNOWN)
    chosen = choose_class_rows(file, target, KNOWN, [name.upper() for name in KNOWN])
    assert all(chosen.state[key] is file[key] for key in file)
    assert not messages.records


def test_without_a_common_class_the_heads_are_the_models_own(messages):
    wanted = ["a", "b", "c", "d"]
    file, target = states(KNOWN, wanted)
    chosen = choose_class_rows(file, target, KNOWN, wanted)
    assert torch.equal(chosen.state["head.conv2.weight"], target["head.conv2.weight"])
    assert "head.conv2.weight" in chosen.untrained
    assert "do not know the classes a, b, c, d" in messages.text


@pytest.mark.parametrize("aux_head", [(False, True), (True, False), (False, False)])
def test_a_missing_auxiliary_head_is_left_to_the_fit(aux_head):
    wanted = ["sky", "tree"]
    file, target = states(KNOWN, wanted, aux_head=aux_head)
    chosen = choose_class_rows(file, target, KNOWN, wanted)
    assert chosen.untrained == ("head.conv2.weight", "head.conv2.bias")
    fit = fit_state_dict(chosen.state, target)
    assert torch.equal(fit.state["head.conv2.bias"][0], file["head.conv2.bias"][2])


def test_a_backbone_has_no_rows():
    file, target = states(KNOWN, ["sky"])
    backbone = {key: file[key] for key in file if not key.startswith(("dappm.", "head.", "aux_"))}
    chosen = choose_class_rows(backbone, target, KNOWN, ["sky"])
    assert chosen == (backbone, ())


def test_rows_that_contradict_the_names_stay_and_are_refused():
    file, target = states([*KNOWN, "tree"], ["sky", "road"])
    file["head.conv2.weight"] = torch.ones(4, 7, 1, 1)
    chosen = choose_class_rows(file, target, KNOWN, ["sky", "road"])
    assert chosen.untrained == ()
    with pytest.raises(CheckpointError, match=r"head\.conv2\.weight is 4 x 7"):
        fit_state_dict(chosen.state, target)


def test_a_chosen_row_that_is_no_number_is_refused():
    file, target = states(KNOWN, ["sky", "tree"])
    file["head.conv2.bias"][2] = torch.nan
    chosen = choose_class_rows(file, target, KNOWN, ["sky", "tree"])
    with pytest.raises(CheckpointError, match=r"NaN or infinite values \(head\.conv2\.bias\)"):
        fit_state_dict(chosen.state, target)


def test_inputs_stay_as_they_are():
    file, target = states(KNOWN, ["sky", "tree"])
    before = [{k: v.clone() for k, v in state.items()} for state in (file, target)]
    choose_class_rows(file, target, KNOWN, ["sky", "tree"])
    for state, values in zip((file, target), before, strict=True):
        assert all(torch.equal(state[key], values[key]) for key in values)
