import logging

import pytest
import torch

import ddrnet
from ddrnet.benchmark.subject import Subject
from ddrnet.errors import UnknownModelError, WeightsUnavailableError

NANO = "ddrnet_23_nano"


def test_named_weights_are_those_of_the_name():
    subject = Subject(f"{NANO}.synthetic")
    model = subject.load()
    assert subject.weights(model) == f"{NANO}.synthetic"
    expected = ddrnet.create_model(f"{NANO}.synthetic", True).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_a_name_without_tag_tells_its_tag():
    assert Subject(NANO).weights(Subject(NANO).load()) == f"{NANO}.camvid"


def test_random_weights_are_announced_and_always_the_same(caplog):
    subject = Subject(NANO, random_weights=True)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with caplog.at_level(logging.WARNING):
        model = subject.load()
    assert torch.equal(torch.rand(1), expected), "the caller's random numbers changed"
    assert "RANDOM WEIGHTS" in caplog.text
    assert subject.weights(model) == "RANDOM"
    other = subject.load().state_dict()
    assert all(torch.equal(value, other[name]) for name, value in model.state_dict().items())


def test_a_saved_model_is_named_by_its_path(tmp_path):
    ddrnet.save_pretrained(ddrnet.create_model(NANO, num_classes=4), tmp_path / "mine")
    subject = Subject(str(tmp_path / "mine"))
    model = subject.load()
    assert model.num_classes == 4
    assert subject.weights(model) == str(tmp_path / "mine")
    assert subject.published((64, 64)) is None


def test_weights_that_cannot_be_had_raise(monkeypatch):
    with pytest.raises(UnknownModelError):
        Subject("ddrnet_23_tiny").load()
    with pytest.raises(WeightsUnavailableError):
        Subject("ddrnet_23_slim.in1k").load()


def test_weights_that_were_not_loaded_raise(monkeypatch):
    monkeypatch.setattr("ddrnet.benchmark.subject.trained_model", ddrnet.create_model)
    with pytest.raises(WeightsUnavailableError, match="not loaded"):
        Subject(NANO).load()


def test_a_published_figure_belongs_to_its_size():
    slim = Subject("ddrnet_23_slim")
    assert slim.published((1024, 2048)).value == pytest.approx(0.778)
    assert slim.published((512, 1024)) is None
    assert Subject(f"{NANO}.camvid").published((360, 480)).data == "CamVid"
