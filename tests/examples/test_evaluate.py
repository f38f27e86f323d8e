"""The evaluation in examples/evaluate.py, run as a user does."""

import runpy
import sys
from pathlib import Path

import golden_data
import numpy as np
import pytest
from data_files import save_png, write_cityscapes

import ddrnet
from ddrnet import factory
from ddrnet.checkpoints import to_ddrnet

EXAMPLE = Path(__file__).parents[2] / "examples" / "evaluate.py"
SLIM = "ddrnet_23_slim"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the example on a small tree; return the printed lines."""
    write_cityscapes(tmp_path, {"val": {"ulm": 2}}, size=(64, 96))

    def run(*arguments, data=tmp_path):
        common = ["--data-path", str(data), "--device", "cpu"]
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
    assert [line.rsplit(maxsplit=1)[0] for line in lines[1:-1]] == [
        label.name for label in ddrnet.CITYSCAPES.classes
    ]
    assert lines[-1].split() == ["mean", "IoU", f"{scores.mean_iou:.2%}"]


def test_weights_whose_heads_are_untrained_are_refused(run, capsys):
    with pytest.raises(SystemExit) as exit:
        run("--model", f"{SLIM}.in1k")
    assert exit.value.code == 2
    assert f"the segmentation heads of {SLIM}.in1k are untrained" in capsys.readouterr().err


def test_own_weights_scales_and_flip(run, tmp_path):
    ddrnet.save_pretrained(ddrnet.create_model("ddrnet_23_nano"), tmp_path / "own")
    own = "--model", f"local-dir:{tmp_path / 'own'}"
    assert run(*own, "--scales", "0.75", "1", "--flip")[-1].startswith("mean IoU")


def test_own_data(run, tmp_path):
    model = ddrnet.create_model("ddrnet_23_nano", class_names=["background", "street"])
    ddrnet.save_pretrained(model, tmp_path / "own")
    data = tmp_path / "data"
    save_png(data / "images" / "1.png", np.full((48, 64, 3), 99))
    save_png(data / "labels" / "1.png", np.eye(48, 64))
    (data / "classes.txt").write_text("background\nstreet\n")
    lines = run("--model", f"local-dir:{tmp_path / 'own'}", data=data)
    assert lines[0] == f"SegmentationFolder(root='{data}/images', images=1, classes=2)"
    assert [line.split()[0] for line in lines[1:]] == ["background", "street", "mean"]
