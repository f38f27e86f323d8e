"""The weights inside the package: small, whole, loaded without a network, as good as their rows."""

import dataclasses
import hashlib
import logging
import os
import socket
from pathlib import Path

import pytest
import torch

import ddrnet
from ddrnet.pretrained.fetch import fetch_weights
from ddrnet.pretrained.inventory import find_cached, remove_cached
from ddrnet.pretrained.tensors import read_safetensors, serialize
from ddrnet.weights import ROWS
from ddrnet.weights.row import PackagedFile

SHIPPED = [row for row in ROWS if row.packaged]

each = pytest.mark.parametrize("row", SHIPPED, ids=[row.name for row in SHIPPED])


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No socket opens, and the cache is an empty folder."""

    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("DDRNET_HUB_ORG", "somebody")
    return tmp_path


def test_two_are_shipped():
    assert [row.name for row in SHIPPED] == ["ddrnet_23_nano.camvid", "ddrnet_23_nano.synthetic"]


@each
def test_loads_without_a_network_and_caches_nothing(row, no_network):
    model = ddrnet.create_model(row.name, pretrained=True, cache_dir=no_network)
    assert model.pretrained is row
    assert model.classes == row.classes
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert not list(no_network.iterdir())


@each
def test_the_file_is_small_and_keeps_the_precision_that_matters(row):
    assert row.packaged.path.stat().st_size == row.packaged.size <= 3.1e6
    state = read_safetensors(row.packaged.path)
    assert all((tensor.dtype == torch.half) == (tensor.ndim == 4) for tensor in state.values())
    model = ddrnet.create_model(row.name, pretrained=True)
    # Batch statistics may exceed the range of half precision, and are few.
    again = {
        key: tensor.half() if tensor.ndim == 4 else tensor
        for key, tensor in model.state_dict().items()
    }
    assert serialize(again) == row.packaged.path.read_bytes()


@each
def test_it_cannot_be_removed_and_is_listed_as_present(row, tmp_path):
    assert find_cached(row, tmp_path).path == row.packaged.path
    with pytest.raises(ValueError, match="ships with ddrnet"):
        remove_cached(row, tmp_path)
    assert row.packaged.path.exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"while"), "is damaged: reinstall ddrnet"),
        (Path.unlink, "cannot be read .*: reinstall ddrnet"),
    ],
)
def test_a_damaged_installation_is_reported(monkeypatch, tmp_path, damage, said):
    monkeypatch.setattr(PackagedFile, "path", property(lambda self: tmp_path / self.filename))
    file = PackagedFile(filename="file", sha256=hashlib.sha256(b"whole").hexdigest(), size=5)
    row = dataclasses.replace(SHIPPED[0], sources=(file,))
    file.path.write_bytes(b"whole")
    assert fetch_weights(row) == file.path
    damage(file.path)
    with pytest.raises(ddrnet.WeightsUnavailableError, match=said):
        fetch_weights(row)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"cut"), Path.unlink])
def test_a_file_that_is_gone_or_cut_off_is_not_listed_as_present(monkeypatch, tmp_path, damage):
    (row,) = (row for row in SHIPPED if row.tag == "synthetic")
    monkeypatch.setattr(PackagedFile, "path", property(lambda self: tmp_path / self.filename))
    row.packaged.path.write_bytes(bytes(row.packaged.size))
    assert find_cached(row).path.parent == tmp_path
    damage(row.packaged.path)
    assert find_cached(row) is None


def test_the_default_of_nano_is_real_streets():
    assert ddrnet.get_weights("ddrnet_23_nano").tag == "camvid"


def test_whoever_loads_the_synthetic_weights_is_told(caplog):
    with caplog.at_level(logging.WARNING, "ddrnet"):
        ddrnet.create_model("ddrnet_23_nano.synthetic", pretrained=True)
    assert "rendered streets alone" in caplog.text


def test_the_synthetic_weights_segment_streets_they_never_saw():
    model = ddrnet.create_model("ddrnet_23_nano.synthetic", pretrained=True)
    scores = ddrnet.evaluate(model, ddrnet.data.SyntheticStreets(4, seed=7))
    assert scores.pixel_accuracy > 0.8


@pytest.mark.slow
def test_the_synthetic_result_is_the_one_of_the_row():
    row = ddrnet.get_weights("ddrnet_23_nano.synthetic")
    streets = ddrnet.data.SyntheticStreets(100, row.metrics[0].resolution, seed=2)
    model = ddrnet.create_model(row.name, pretrained=True)
    scores = ddrnet.evaluate(model, streets, num_workers=1)
    assert scores.mean_iou == pytest.approx(row.metrics[0].value, abs=1e-3)


@pytest.mark.skipif("DDRNET_CAMVID" not in os.environ, reason="DDRNET_CAMVID names no folder")
def test_the_camvid_result_is_the_one_of_the_row():
    row = ddrnet.get_weights("ddrnet_23_nano.camvid")
    model = ddrnet.create_model(row.name, pretrained=True)
    scores = ddrnet.evaluate(model, ddrnet.data.CamVid(os.environ["DDRNET_CAMVID"], "val"))
    assert scores.mean_iou == pytest.approx(row.metrics[0].value, abs=1e-3)
    assert scores.mean_iou >= 0.62
