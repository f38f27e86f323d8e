"""The network to train and the weights it starts from."""

import logging
from pathlib import Path

import golden_data
import pytest
import torch
from training_runs import newest, run_here, started, write_labelled_folder

import ddrnet
from ddrnet import factory
from ddrnet.checkpoints import to_ddrnet
from ddrnet.training import building
from ddrnet.training.settings import Settings

NANO, SLIM = "ddrnet_23_nano", "ddrnet_23_slim"
CITYSCAPES, CAMVID = ddrnet.CITYSCAPES.classes, ddrnet.CAMVID.classes


@pytest.fixture
def initialised(accelerator):
    """Build a network as a run does."""

    def build(init, classes=CAMVID, model=NANO):
        settings = Settings(model=model, init=init)
        return building.build_network(settings, init, classes, accelerator)

    return build


@pytest.fixture
def own(tmp_path):
    """A trained model of 19 classes: a state dict and a folder of save_pretrained."""
    torch.manual_seed(7)
    model = ddrnet.create_model(NANO, class_names=CITYSCAPES, aux_head=True)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    ddrnet.save_pretrained(model, tmp_path / "folder", aux_head=True)
    return model


HEADS = {f"{head}.conv2.{name}" for head in ("head", "aux_head") for name in ("weight", "bias")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own.pth", "19 classes, the model 11"),
        ("folder", "kept the rows of the classes Sky, Building, Pole, Road, Fence, Car"),
    ],
)
def test_own_weights_of_other_classes_leave_the_last_convolutions(
    own, name, message, tmp_path, caplog, initialised
):
    with caplog.at_level(logging.INFO):
        model = initialised(str(tmp_path / name))
    assert model.classes == CAMVID
    theirs = own.state_dict()
    for key, value in model.state_dict().items():
        assert (key in HEADS) != torch.equal(value, theirs.get(key, torch.empty(0))), key
    assert f"starting from {tmp_path / name}" in caplog.text
    assert message in caplog.text
    total = len(theirs)
    assert f"loaded {total - 4} of {total} tensors" in caplog.text


def test_a_run_starts_from_the_checkpoint_of_another(tmp_path, fresh_process):
    words = ["--synthetic-images", 4, "--epochs", 1]
    assert run_here(tmp_path / "first", *words) == 0
    checkpoint = next((tmp_path / "first").glob("checkpoint_*"))
    data = write_labelled_folder(tmp_path / "data", 4, 2)
    words = ["--data", "folder", "--data-path", data, "--init", checkpoint]
    run, _ = started(tmp_path / "second", *words)
    trained = newest(tmp_path / "first")["model"]
    kept = [torch.equal(value, trained[key]) for key, value in run.network.state_dict().items()
            if key not in HEADS]  # fmt: skip
    assert all(kept)
    assert run.network.num_classes == 3


def test_auto_takes_imagenet_weights_where_there_are_any(monkeypatch, caplog, initialised):
    official = golden_data.state_dict(golden_data.keys("official")[SLIM])
    asked = []

    def fetch(row, cache_dir):
        asked.append(row.name)
        return to_ddrnet(official)

    monkeypatch.setattr(factory, "fetch_state_dict", fetch)
    caplog.set_level(logging.INFO)
    initialised("auto", model=SLIM)
    assert asked == [f"{SLIM}.in1k"]
    initialised("auto", model=NANO)
    assert asked == [f"{SLIM}.in1k"]
    assert "ddrnet_23_nano has no ImageNet weights: starting from random weights" in caplog.text
    model = initialised("cityscapes", model=SLIM)
    assert asked[1:] == [f"{SLIM}.cityscapes"]
    assert model.pretrained.name == f"{SLIM}.cityscapes", "the card of the result names its origin"


def test_weights_that_ship_are_a_start_for_other_classes(caplog, initialised):
    caplog.set_level(logging.INFO)
    for name in ddrnet.list_models(NANO, pretrained=True):
        model = initialised(name.partition(".")[2], classes=["one", "two"])
        assert model.num_classes == 2
        trained = ddrnet.create_model(name, pretrained=True)
        assert torch.equal(model.stem[0].weight, trained.stem[0].weight)
        assert f"starting from {name}" in caplog.text


def test_weights_that_cannot_be_fetched_name_the_way_without(monkeypatch, initialised):
    def fail(row, cache_dir):
        raise ddrnet.WeightsUnavailableError("no network")

    monkeypatch.setattr(factory, "fetch_state_dict", fail)
    with pytest.raises(ddrnet.WeightsUnavailableError, match=r"no network .*--init none"):
        initialised("auto", model=SLIM)


@pytest.mark.parametrize(
    ("model", "init", "message"),
    [
        (SLIM, "imagenet", "no such file, nor weights of that name; expected none, auto, "),
        (SLIM, "runs/best/model.safetensors", "no such file"),
        (f"{SLIM}.cityscapes", "auto", f"pass --model {SLIM}, and --init cityscapes"),
        (
            NANO,
            str(Path(__file__).parent),
            r"no model\.safetensors; to start from a run, pass its best",
        ),
        ("ddrnet_32", "auto", "did you mean"),
    ],
)
def test_a_wrong_start_says_what_to_pass(model, init, message, initialised, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(ValueError, match=message):
        initialised(init, model=model)
    assert not caplog.records
