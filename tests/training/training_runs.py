"""Small training runs, in this process and in others, and what they leave."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from data_files import save_png
from process_group import free_port

import ddrnet
from ddrnet import cli
from ddrnet.cli.train import add_parser, given_settings
from ddrnet.training import RECIPES, loop, run_checkpoints

ROOT = Path(__file__).parents[2]
TINY = shlex.split(
    "--model ddrnet_23_nano --init none --data synthetic --synthetic-size 64x128 --crop-size 64 "
    "--batch-size 2 --workers 0 --precision no --class-weights none --cpu"
)
FEW_CLASSES = ("one", "two", "three")


def run_here(folder, *words):
    """Run the command in this process; returns its exit code."""
    code = cli.main(["train", *TINY, "--output", str(folder), *map(str, words)])
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return code


def started(folder, *words):
    """Return a run before its next step and its progress, in this process."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return loop.start(typed([*TINY, "--output", str(folder), *map(str, words)]))


def resumed(folder, *words):
    """Return a run in the state of its newest checkpoint, with settings changed as typed."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return loop.start(*run_checkpoints.load(folder, given(words)))


def given(words):
    """Return the settings that the command reads from these words."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return given_settings(parser.parse_args(["train", *map(str, words)]))


def typed(words, recipe="single-gpu"):
    """The settings that these words amount to."""
    return RECIPES[recipe].settings.changed(given(words))


class Training:
    """A run in another process, or several: `launcher` are the words before `-m ddrnet`.

    It is the leader of a group of processes of its own; what it says goes to a file.
    """

    def __init__(self, folder, *words, launcher=(), **env):
        self.folder, self._said = folder, folder.parent / f"{folder.name}.txt"
        variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}
        start = [sys.executable, *launcher, "-m", "ddrnet", "train"]
        command = [*start, *TINY, "--output", folder]
        with self._said.open("a") as file:
            self.process = subprocess.Popen(
                [*map(str, command), *map(str, words)],
                env=os.environ | variables,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def said(self):
        return self._said.read_text()

    def wait(self, seconds=300):
        """Return the exit code."""
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()

    def wait_for_step(self, step):
        """Wait until there is a checkpoint of at least `step`."""
        while not any(int(p.name.split("_")[1][:9]) >= step for p in self.folder.glob("*.pt")):
            assert self.process.poll() is None, self.said
            time.sleep(0.005)


def torchrun(processes):
    return (
        *("-m", "torch.distributed.run", "--nproc-per-node", processes),
        *("--master-port", free_port()),
    )


def newest(folder):
    return run_checkpoints.read(Path(folder))[1]


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses_of(folder):
    return [(row["step"], row["loss"]) for row in log_of(folder) if "loss" in row]


def assert_same_losses(first, second, rel):
    (steps, one), (others_steps, other) = (zip(*losses_of(f), strict=True) for f in (first, second))
    assert steps == others_steps
    assert one == pytest.approx(other, rel=rel, abs=0)


LEARNED = ("model", "evaluated", "optimizer", "step", "best", "losses")


def assert_same_run(first, second, names=(*LEARNED, "generators")):
    one, other = newest(first), newest(second)
    for name in names:
        assert same(one[name], other[name]), name


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_close_weights(first, second, atol):
    one, other = newest(first)["model"], newest(second)["model"]
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=atol, msg=name)


def write_labelled_folder(root, train_images=12, val_images=12):
    """Images of 64 x 64 in which every pixel is labelled."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train_images), ("val", val_images)):
        for index in range(count):
            name = f"{split}/{index}.png"
            save_png(root / "images" / name, rng.integers(0, 256, (64, 64, 3)))
            save_png(root / "labels" / name, rng.integers(0, 3, (64, 64)))
    (root / "classes.txt").write_text("\n".join(FEW_CLASSES))
    return root


def write_own_data(root, images):
    """A folder without splits, whose masks use 4 for pixels without a label."""
    rng = np.random.default_rng(1)
    for index in range(images):
        save_png(root / "images" / f"{index}.png", rng.integers(0, 256, (64, 64, 3)))
        save_png(root / "labels" / f"{index}.png", rng.choice([0, 1, 4], (64, 64)))
    (root / "classes.txt").write_text("water\nland\nunlabelled 4 ignore\n")
    return root


def save_teacher(folder, class_names, seed=0, **options):
    """Save a network with random weights and random statistics of BatchNorm; return it."""
    torch.manual_seed(seed)
    model = ddrnet.create_model("ddrnet_23_nano", class_names=class_names, **options)
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.add_(torch.rand_like(value))
    ddrnet.save_pretrained(model, folder)
    return model
