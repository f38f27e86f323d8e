"""Fine-tuning with the trainers of other libraries, each example run as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import save_png

import ddrnet

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAINERS = ("finetune_accelerate", "finetune_lightning", "finetune_transformers")


@pytest.fixture
def own_data(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(4):
        save_png(tmp_path / f"own/images/train/{index}.png", rng.integers(0, 256, (64, 64, 3)))
        save_png(tmp_path / f"own/masks/train/{index}.png", rng.choice([0, 1, 2, 4], (64, 64)))
    (tmp_path / "own" / "classes.txt").write_text("water\nRoad\nall else\nvoid 4 ignore\n")
    return tmp_path


def finetune(folder, name, *words):
    options = ["--model", "ddrnet_23_nano.camvid", "--epochs", "2", "--crop-size", "64"]
    command = [sys.executable, EXAMPLES / f"{name}.py", "own", *options, *words]
    paths = os.pathsep.join(filter(None, [str(EXAMPLES.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = ddrnet.create_model(f"local-dir:{folder}/finetuned", pretrained=True)
    assert [row.name for row in model.classes] == ["water", "Road", "all else"]
    assert model.upsample
    assert "kept" not in done.stdout
    assert "the weights do not know the classes water, all else" in done.stderr
    return model.state_dict()


def changed(state):
    """The tensors that differ from those before the training."""
    before = ddrnet.create_model("ddrnet_23_nano.camvid", pretrained=True).state_dict()
    return {
        key
        for key, tensor in state.items()
        if tensor.shape != before[key].shape or not torch.equal(tensor, before[key])
    }


@pytest.mark.slow
def test_lightning_trains_every_layer(own_data):
    trained = changed(finetune(own_data, "finetune_lightning"))
    names = dict(ddrnet.create_model("ddrnet_23_nano").named_parameters())
    assert names.keys() <= trained
    assert "stem.1.running_mean" in trained
    assert {path.name for path in own_data.iterdir()} == {"own", "finetuned"}


@pytest.mark.slow
def test_the_trainer_of_hugging_face_leaves_stem_and_trunk(own_data):
    trained = changed(finetune(own_data, "finetune_transformers"))
    assert {key.partition(".")[0] for key in trained} == {
        *("fusion_stages", "low_res_tail", "high_res_tail", "dappm", "head")
    }
    assert not [key for key in trained if "running" in key]


@pytest.mark.slow
def test_accelerate_leaves_batch_norm(own_data):
    trained = changed(finetune(own_data, "finetune_accelerate", "--batch-size", "1"))
    network = ddrnet.create_model("ddrnet_23_nano")
    convolutions = {
        f"{k}.weight" for k, m in network.named_modules() if type(m).__name__ == "Conv2d"
    }
    assert trained == convolutions | {"stem.0.bias", "stem.3.bias", "head.conv2.bias"}


@pytest.mark.parametrize("name", TRAINERS)
def test_each_can_be_read_at_a_glance(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 60
