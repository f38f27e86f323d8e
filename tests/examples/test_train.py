"""The reference loop in examples/train.py, run as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_files import write_cityscapes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ddrnet

EXAMPLE = Path(__file__).parents[2] / "examples" / "train.py"


def run(folder, *launcher, batch_size=2):
    write_cityscapes(folder / "data", {"train": {"ulm": 4}, "val": {"ulm": 2}}, size=(64, 96))
    words = (
        f"{EXAMPLE} --model ddrnet_23_nano.camvid --lr 0.001 --epochs 2 --data-path {folder}/data "
        f"--batch-size {batch_size} --crop-size 64 --workers 0 --cpu --output {folder}/run"
    )
    return subprocess.run(
        [sys.executable, *launcher, *words.split()],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def train(folder, *launcher):
    done = run(folder, *launcher)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_one_process_trains_validates_and_keeps_the_best_weights(tmp_path):
    lines = train(tmp_path)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    best = max(float(line.split()[-1]) for line in lines)
    model = ddrnet.create_model(f"local-dir:{tmp_path}/run/best", pretrained=True)
    assert model.classes == ddrnet.CITYSCAPES.classes
    assert model.upsample
    assert model.aux_head is None
    held_out = ddrnet.data.Cityscapes(tmp_path / "data", "val")
    assert ddrnet.evaluate(model, held_out).mean_iou == pytest.approx(best, abs=1e-3)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert len(events.Scalars("val/mean_iou")) == 2


@pytest.mark.slow
def test_fewer_images_than_a_batch_are_refused(tmp_path):
    done = run(tmp_path, batch_size=5)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "images=4, classes=19) has fewer images than a step takes: lower --batch-size"
    )
    assert not (tmp_path / "run" / "best").exists()


@pytest.mark.slow
def test_two_processes_of_torchrun(tmp_path):
    lines = train(tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert len([line for line in lines if line.startswith("epoch 2/2")]) == 1
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()


def test_it_can_be_read_in_one_sitting():
    for name, most in (("train", 150), ("evaluate", 40), ("finetune", 60)):
        assert len((EXAMPLE.parent / f"{name}.py").read_text().splitlines()) <= most
