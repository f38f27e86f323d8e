"""Muon that orthogonalizes weights of one shape together, against timm's."""

import copy
import inspect

import pytest
import torch
from timm.optim import Muon, create_optimizer_v2
from torch import nn

import ddrnet
from ddrnet.training import building
from ddrnet.training.muon import BatchedMuon
from ddrnet.training.settings import Settings

LR = 0.02


def with_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter, requires_grad=False).copy_(values)


@pytest.mark.parametrize(
    "options", [{}, {"nesterov": True}, {"adjust_lr_fn": "original"}, {"ns_steps": 3}]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_equal_those_of_timm(options, layout):
    torch.manual_seed(0)
    shapes = [(8, 8, 3), (8, 8, 3), (16, 8, 1), (16, 8, 1), (8, 16, 3), (2, 4, 1)]
    model = nn.ModuleList(nn.Conv2d(i, o, k) for o, i, k in shapes).to(memory_format=layout)
    model.append(nn.BatchNorm2d(8))
    other = copy.deepcopy(model)
    theirs = Muon(other.parameters(), LR, weight_decay=0.1, **options)
    ours = BatchedMuon(model.parameters(), LR, weight_decay=0.1, **options)
    for step in range(4):
        for network, optimizer in (other, theirs), (model, ours):
            with_gradients(network, step)
            optimizer.step()
    # The iteration is computed in bfloat16, which processors may sum in another order.
    for expected, value in zip(other.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=LR / 100)
        assert value.grad is not None
    for expected, value in zip(
        theirs.state_dict()["state"].values(), ours.state_dict()["state"].values(), strict=True
    ):
        assert expected.keys() == value.keys()
        for name in expected:
            torch.testing.assert_close(value[name], expected[name], rtol=0, atol=0)


OTHER_WAYS = [{"conv_mode": "batched"}, {"algo": "adamuon"}, {"scale_eps": True}]


@pytest.mark.parametrize("options", OTHER_WAYS)
def test_other_ways_are_left_to_timm(options):
    if not options.keys() <= inspect.signature(Muon).parameters.keys():
        pytest.skip("this release of timm has no such option")
    torch.manual_seed(0)
    model = nn.Conv2d(8, 8, 3)
    other = copy.deepcopy(model)
    pairs = [(other, Muon(other.parameters(), LR, **options))]
    pairs += [(model, BatchedMuon(model.parameters(), LR, **options))]
    for step in range(3):
        for network, optimizer in pairs:
            with_gradients(network, step)
            optimizer.step()
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_a_weight_without_gradient_stays():
    model = nn.ModuleList(nn.Conv2d(8, 8, 3, bias=False) for _ in range(2))
    optimizer = BatchedMuon(model.parameters(), LR)
    for step in range(3):
        with_gradients(model, step)
        model[1].weight.grad = None
        before = [module.weight.detach().clone() for module in model]
        optimizer.step()
        assert not torch.equal(model[0].weight, before[0])
        assert torch.equal(model[1].weight, before[1])


def test_a_closure_computes_the_loss():
    layer = nn.Linear(8, 8)
    optimizer = BatchedMuon(layer.parameters(), LR)

    def closure():
        optimizer.zero_grad()
        loss = layer(torch.ones(1, 8)).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["muon", "nmuon"])
def test_a_run_with_muon_takes_it_with_the_settings_of_timm(name):
    model = ddrnet.create_model("ddrnet_23_nano")
    settings = Settings(optimizer=name, lr=0.5, momentum=0.75, weight_decay=0.25)
    ours = building.build_optimizer(settings, model)
    groups = model.parameter_groups(0.5, weight_decay=0.25)
    theirs = create_optimizer_v2(groups, name, 0.5, momentum=0.75)
    assert type(ours) is BatchedMuon
    assert ours.defaults == theirs.defaults
    for group, expected in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert {**group, "params": None} == {**expected, "params": None}
    assert type(building.build_optimizer(Settings(), model)) is torch.optim.SGD


def test_a_state_of_timm_goes_on(device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)).to(device)
    other = copy.deepcopy(model)
    theirs = Muon(other.parameters(), LR)
    for step in range(2):
        with_gradients(other, step)
        theirs.step()
    model.load_state_dict(other.state_dict())
    ours = BatchedMuon(model.parameters(), LR)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for network, optimizer in (other, theirs), (model, ours):
        with_gradients(network, 2)
        optimizer.step()
    for expected, value in zip(other.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=LR / 100)
