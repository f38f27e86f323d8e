import logging

import pytest
import torch
from torch import cuda, distributed

from ddrnet.cli.processes import joined
from ddrnet.predictor import pipeline


@pytest.fixture
def group(monkeypatch):
    """Act as the second of two processes of torchrun; return the calls to the process group."""
    calls = []
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "init_process_group", calls.append)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: calls.append("left"))
    monkeypatch.setattr(cuda, "set_device", lambda device: calls.append(str(device)))
    monkeypatch.setattr(logging.getLogger("ddrnet"), "level", logging.INFO)
    return calls


def test_a_single_process_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (device, first):
        assert device == torch.device("cpu")
        assert first
        assert not distributed.is_initialized()


def test_processes_on_the_cpu_use_gloo_and_one_speaks(group):
    with joined("cpu") as (device, first):
        assert device == torch.device("cpu")
        assert not first
        assert logging.getLogger("ddrnet").level == logging.ERROR
    assert group == ["gloo", "left"]


@pytest.mark.parametrize("name", ["cuda", None])
def test_each_process_takes_a_gpu_of_its_own(group, name, monkeypatch):
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(pipeline, "pick_device", torch.device)
    with joined(name) as (device, _):
        assert device == torch.device("cuda:1")
    assert group == ["cuda:1", "nccl", "left"]


def test_an_error_leaves_the_group(group):
    with pytest.raises(KeyError), joined("cpu"):
        raise KeyError
    assert group == ["gloo", "left"]
