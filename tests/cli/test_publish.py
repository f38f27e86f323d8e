"""`ddrnet publish` against a Hub on loopback."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from containers import row_file
from loopback import Loopback, run_fresh

from ddrnet import registry
from ddrnet.cli import main
from ddrnet.network import DDRNet
from ddrnet.pretrained.tensors import serialize
from ddrnet.variants import VARIANTS


@pytest.fixture(scope="module")
def server():
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def slim(server, monkeypatch):
    """The registered row, its file on loopback."""
    row = registry.get_weights("ddrnet_23_slim.cityscapes_mmseg")
    mirrored = server.mirror(row, row_file(row))
    monkeypatch.setattr(registry, "get_weights", lambda name: {row.name: mirrored}[name])
    return mirrored


def test_a_dry_run_twice_gives_the_same_bytes(slim, tmp_path, capsys):
    for folder in "ab":
        arguments = ["publish", slim.name, "--org", "me", "--dry-run"]
        places = ["--out", str(tmp_path / folder), "--cache-dir", str(tmp_path / f"cache {folder}")]
        assert main(arguments + places) == 0
    first, second = (tmp_path / folder / slim.name for folder in "ab")
    names = sorted(path.name for path in first.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    digest = hashlib.sha256((first / "model.safetensors").read_bytes()).hexdigest()
    assert capsys.readouterr().out.count(digest) == 2


@pytest.mark.slow
def test_upload_prints_the_source_that_then_works(server, tmp_path):
    torch.manual_seed(2)
    content = serialize(DDRNet(VARIANTS["ddrnet_23_nano"]).state_dict())
    link = server.serve("/nano", content)
    code = f"""
import dataclasses, io
from contextlib import redirect_stdout
from ddrnet import registry
from ddrnet.cli import main
from ddrnet.errors import HubError
from ddrnet.pretrained.fetch import fetch_weights
from ddrnet.weights.row import HubFile, WebFile
row = dataclasses.replace(
    registry.get_weights("ddrnet_23_slim.cityscapes"), model="ddrnet_23_nano", tag="test",
    sources=(WebFile(({link!r},)),),
)
registry.get_weights = lambda name: row
with redirect_stdout(io.StringIO()) as printed:
    code = main(["publish", row.name, "--org", "me"])
source = eval(printed.getvalue().partition(": ")[2])
path = fetch_weights(dataclasses.replace(row, sources=(source,)))
report([code, printed.getvalue(), str(path)])
"""
    code, printed, path = run_fresh(code, server, tmp_path, HF_TOKEN="hf_secret")
    assert code == 0
    assert printed.startswith('ddrnet_23_nano.test: HubFile("me/ddrnet_23_nano.test", "')
    assert Path(path).read_bytes() == content
    config = json.loads(server.repos["me/ddrnet_23_nano.test"].files("main")["config.json"])
    assert config["pretrained"] == "ddrnet_23_nano.test"


def test_unknown_names_are_refused_before_anything_is_fetched(capsys, tmp_path):
    arguments = ["publish", "ddrnet_23.cityscape", "--org", "me", "--dry-run"]
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    assert "did you mean cityscapes" in capsys.readouterr().err
