import argparse
import subprocess
import sys

import golden_data
import pytest
import torch
from safetensors.torch import load_file

from ddrnet.checkpoints import read_state_dict, to_ddrnet
from ddrnet.cli import convert
from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import VARIANTS

NANO = VARIANTS["ddrnet_23_nano"]
FAMILIES = ("official", "mmseg", "supergradients", "ddrnet")


def run(*arguments):
    parser = argparse.ArgumentParser()
    convert.add_parser(parser.add_subparsers())
    args = parser.parse_args(["convert", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def file(tmp_path):
    model = DDRNet(NANO, num_classes=5, aux_head=True)
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "in.pth")
    return tmp_path / "in.pth"


@pytest.mark.parametrize(
    ("family", "extension"),
    [
        *((family, "safetensors") for family in FAMILIES),
        *(("official", extension) for extension in ("pth", "pt", "ckpt")),
    ],
)
def test_converts_and_back(family, extension, file, tmp_path, capsys):
    there, back = tmp_path / f"there.{extension}", tmp_path / "back.safetensors"
    assert run(file, there, "--to", family) == 0
    assert "ddrnet_23_nano, 5 classes, auxiliary head" in capsys.readouterr().out
    assert run(there, back) == 0
    expected, got = read_state_dict(file), read_state_dict(back)
    folded = {"stem.0.bias", "stem.3.bias", "stem.1.running_mean", "stem.4.running_mean"}
    for key in expected.keys() - (folded if family == "mmseg" else set()):
        assert torch.equal(got[key], expected[key]), key
    assert got.keys() == expected.keys()
    assert f"from {family} to ddrnet names" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("family", "kind", "count"),
    [("ddrnet", "classifier, 274", 274), ("supergradients", "backbone only, 254", 254)],
)
def test_a_classifier_keeps_the_layers_that_have_names(tmp_path, capsys, family, kind, count):
    shapes = golden_data.keys("official")["ddrnet_23_slim.classification"]
    torch.save(golden_data.state_dict(shapes), tmp_path / "in.pth")
    run(tmp_path / "in.pth", tmp_path / "out.safetensors", "--to", family)
    assert f"ddrnet_23_slim, {kind} tensors" in capsys.readouterr().out
    assert len(load_file(tmp_path / "out.safetensors")) == count


def test_a_classifier_keeps_its_tensors(tmp_path):
    shapes = golden_data.keys("official")["ddrnet_23_slim.classification"]
    torch.save(golden_data.state_dict(shapes), tmp_path / "in.pth")
    run(tmp_path / "in.pth", tmp_path / "out.safetensors")
    expected = to_ddrnet(read_state_dict(tmp_path / "in.pth"))
    got = load_file(tmp_path / "out.safetensors")
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize("extension", ["safetensors", "pth"])
def test_the_same_input_gives_the_same_bytes(extension, file, tmp_path):
    outputs = [tmp_path / f"{name}.{extension}" for name in ("a", "b")]
    for output in outputs:
        run(file, output, "--to", "official")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_overwrites_only_when_told(file, tmp_path):
    output = tmp_path / "out.pth"
    output.write_text("precious")
    with pytest.raises(FileExistsError, match="--force"):
        run(file, output)
    assert output.read_text() == "precious"
    run(file, output, "--force")
    assert len(read_state_dict(output)) == len(read_state_dict(file))


def test_converts_a_file_in_place(file, tmp_path):
    expected = read_state_dict(file)
    inside = tmp_path / "a.safetensors"
    run(file, inside, "--to", "official")
    run(inside, inside, "--to", "ddrnet", "--force")
    got = read_state_dict(inside)
    assert all(torch.equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("out.onnx", ValueError, r"names no format: use .safetensors"),
        ("out", ValueError, "format"),
        ("missing/out.pth", FileNotFoundError, "no folder"),
        ("folder.pth", IsADirectoryError, "folder"),
    ],
)
def test_a_bad_output_is_refused_before_any_work(output, error, message, tmp_path):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(error, match=message):
        run(tmp_path / "missing.pth", tmp_path / output, "--force")


def test_a_network_that_the_family_lacks_writes_nothing(tmp_path):
    with torch.device("meta"):
        shapes = DDRNet(VARIANTS["ddrnet_39"]).state_dict()
    torch.save({key: torch.zeros(1) for key in shapes}, tmp_path / "in.pth")
    with pytest.raises(CheckpointError, match="mmseg has no DDRNet"):
        run(tmp_path / "in.pth", tmp_path / "out.pth", "--to", "mmseg")
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]


def test_an_unknown_family_is_wrong_usage(file, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        run(file, tmp_path / "out.pth", "--to", "keras")
    assert error.value.code == 2
    assert all(family in capsys.readouterr().err for family in FAMILIES[:1])


def test_the_parser_loads_no_torch():
    code = "import sys, ddrnet.cli.convert; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
