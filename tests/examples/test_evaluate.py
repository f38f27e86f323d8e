"""The evaluation in examples/evaluate.py, run as a user does."""

import runpy
import sys
from pathlib import Path

import golden_data
import pytest
import torch
from data_files import write_cityscapes

import ddrnet
from ddrnet import factory
from ddrnet.checkpoints import to_ddrnet

EXAMPLE = Path(__file__).parents[2] / "examples" / "evaluate.py"
SLIM = "ddrnet_23_slim"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the example on a small tree; what it prints."""
    write_cityscapes(tmp_path, {"val": {"ulm": 2}}, size=(64, 96))

    def run(*arguments):
        common = ["--data-path", str(tmp_path), "--workers", "0", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments, *common])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_the_known_command_scores_pretrained_weights(run, monkeypatch, tmp_path):
    official = golden_data.state_dict(golden_data.keys("official")[SLIM])
    monkeypatch.setattr(factory, "fetch_state_dict", lambda row, cache_dir: to_ddrnet(official))
    lines = run("--model", SLIM)
    model = ddrnet.create_model(SLIM, pretrained=True)
    scores = ddrnet.evaluate(model, ddrnet.data.Cityscapes(tmp_path, "val"))
    assert [line.rsplit(maxsplit=1)[0] for line in lines[:-1]] == [
        label.name for label in ddrnet.CITYSCAPES.classes
    ]
    assert lines[-1].split() == ["mean", "IoU", f"{scores.mean_iou:.2%}"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", f"{SLIM}.in1k"], "its segmentation heads are untrained: pass weights that"),
        (["--model", "ddrnet_23_slimm"], "did you mean ddrnet_23_slim"),
        (["--split", "vall"], "vall"),
    ],
)
def test_what_cannot_be_scored_ends_with_one_message(run, words, message):
    with pytest.raises(SystemExit) as exit:
        run(*words)
    assert message in exit.value.code


def test_own_weights_scales_and_flip(run, tmp_path):
    torch.save(ddrnet.create_model("ddrnet_23_nano").state_dict(), tmp_path / "own.pth")
    weights = "--model", "ddrnet_23_nano", "--checkpoint", str(tmp_path / "own.pth")
    assert run(*weights, "--scales", "0.75", "1", "--flip")[-1].startswith("mean IoU")
