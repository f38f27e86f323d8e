"""Fine-tuning in examples/finetune.py, run as a user does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import save_png

import ddrnet
from ddrnet.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "finetune.py"


@pytest.mark.slow
def test_own_images_masks_and_classes(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        save_png(tmp_path / f"own/images/train/{index}.png", rng.integers(0, 256, (64, 64, 3)))
        save_png(tmp_path / f"own/masks/train/{index}.png", rng.choice([0, 1, 2, 4], (64, 64)))
    (tmp_path / "own" / "classes.txt").write_text("water\ngrass\nall else\nvoid 4 ignore\n")
    words = ["own", "--model", "ddrnet_23_nano.camvid", "--epochs", "2", "--crop-size", "64"]
    command = [sys.executable, EXAMPLE, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("epoch 2/2")
    model = ddrnet.create_model(f"local-dir:{tmp_path}/finetuned", pretrained=True)
    assert [row.name for row in model.classes] == ["water", "grass", "all else"]
    assert model.upsample
    out = ["--out", str(tmp_path / "out")]
    folder = f"local-dir:{tmp_path}/finetuned"
    assert main(["predict", str(tmp_path / "own" / "images"), "--model", folder, *out]) == 0
