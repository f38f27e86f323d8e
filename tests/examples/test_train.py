"""The training loop in examples/train.py: exact resume, processes, files, no waiting."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import save_png

import ddrnet

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import accelerate
import checkpoints
import recipes
import train

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = shlex.split(
    "--model ddrnet_23_nano --init none --data synthetic --synthetic-size 64x128 --crop-size 64 "
    "--batch-size 2 --workers 0 --precision no --class-weights none --cpu"
)


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """One thread, as the other processes have; accelerate's state and the signals as before."""
    threads, handlers = torch.get_num_threads(), [signal.getsignal(n) for n in (2, 15)]
    torch.set_num_threads(1)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    torch.set_num_threads(threads)
    for number, handler in zip((2, 15), handlers, strict=True):
        signal.signal(number, handler)


def run_here(folder, *words):
    code = train.main([*TINY, "--output", str(folder), *map(str, words)])
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return code


def start_process(folder, *words, **env):
    return subprocess.Popen(
        [sys.executable, EXAMPLES / "train.py", *TINY, "--output", folder, *map(str, words)],
        env=os.environ
        | {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
        | {name: str(value) for name, value in env.items()},
        stderr=subprocess.PIPE,
        text=True,
    )


def newest(folder):
    return checkpoints.read(Path(folder))[1]


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


LEARNED = ("model", "evaluated", "optimizer", "step", "best", "losses", "generators")


def assert_same_run(first, second):
    one, other = newest(first), newest(second)
    for name in LEARNED:
        assert same(one[name], other[name]), name


def kill_once_saved(folder, step, *words):
    """SIGKILL a run as soon as it has a checkpoint of at least `step`, wherever it then is."""
    process = start_process(folder, *words)
    while not any(int(p.name.split("_")[1][:9]) >= step for p in folder.glob("*.pt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_not_killed(tmp_path, workers):
    words = "--synthetic-images 8 --epochs 3 --save-every 1 --log-every 3 --ema 0.9 --workers"
    words = [*words.split(), workers]
    assert run_here(tmp_path / "whole", *words) == 0
    kill_once_saved(tmp_path / "killed", 5, *words)
    assert newest(tmp_path / "killed")["step"] < 12
    assert run_here(tmp_path / "killed", *words, "--resume") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    losses = [
        [(row["step"], row["loss"]) for row in log_of(tmp_path / name) if "loss" in row]
        for name in ("whole", "killed")
    ]
    assert losses[0] == losses[1]


def test_an_epoch_makes_the_loss_fall_and_leaves_files(tmp_path):
    words = "--synthetic-images 16 --epochs 1 --lr 0.05 --log-every 2 --loss ce --scale 1 1"
    assert run_here(tmp_path, *words.split()) == 0
    losses = [row["loss"] for row in log_of(tmp_path) if "loss" in row]
    assert losses[-1] < losses[0]
    assert list((tmp_path / "tensorboard").iterdir())
    for name in ("best", "last"):
        model = ddrnet.create_model(f"local-dir:{tmp_path / name}", pretrained=True)
        assert model.upsample
        assert model.aux_head is None
    scores = next(row for row in log_of(tmp_path) if "mean_iou" in row)
    assert 0 <= scores["mean_iou"] <= 1
    assert run_here(tmp_path) == 1, "a new run must not mix with an old one"


def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path, caplog):
    words = ["--synthetic-images", 4, "--epochs", 2, "--validate-every", 0]
    original = train.train_step

    def interrupting(run, loader, step):
        if step == 0:
            signal.raise_signal(signal.SIGINT)
        return original(run, loader, step)

    caplog.set_level("INFO")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_step", interrupting)
        assert run_here(tmp_path, *words) == 130
    assert "--resume" in caplog.text
    assert newest(tmp_path)["step"] == 1
    assert run_here(tmp_path, "--resume") == 0, "the checkpoint knows the other settings"
    assert newest(tmp_path)["step"] == 4


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_taken(tmp_path, caplog):
    old = checkpoints.write(tmp_path, 1, {"step": 1})
    new = checkpoints.write(tmp_path, 2, {"step": 2})
    data = bytearray(new.read_bytes())
    data[len(data) // 2] ^= 1
    new.write_bytes(data)
    assert checkpoints.read(tmp_path) == (old, {"step": 1})
    assert new.name in caplog.text
    old.write_bytes(b"")
    with pytest.raises(ddrnet.CheckpointError, match="every checkpoint"):
        checkpoints.read(tmp_path)


def test_two_checkpoints_are_kept_and_nothing_half_written(tmp_path):
    for step in (1, 2, 3):
        checkpoints.write(tmp_path, step, {"step": step})
    assert [path.name[:20] for path in sorted(tmp_path.iterdir())] == [
        "checkpoint_000000002",
        "checkpoint_000000003",
    ]
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoints.read(tmp_path / "elsewhere")


def write_labelled_folder(root, count=12):
    """Images of 64 x 64 in which every pixel is labelled."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for index in range(count):
            name = f"{split}/{index}.png"
            save_png(root / "images" / name, rng.integers(0, 256, (64, 64, 3)))
            save_png(root / "labels" / name, rng.integers(0, 3, (64, 64)))
    (root / "classes.txt").write_text("one\ntwo\nthree\n")
    return root


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    data = write_labelled_folder(tmp_path / "data")
    words = (
        f"--data folder --data-path {data} --loss ce --freeze-bn --scale 1 1 --epochs 7 --lr 1e-4 "
        "--validate-every 7 --recipe paper --class-weights none --log-every 5"
    ).split()
    assert run_here(tmp_path / "one", *words, "--batch-size", 4) == 0
    group = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [
        start_process(tmp_path / "two", *words, RANK=rank, LOCAL_RANK=rank, **group)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert "SyncBN needs GPUs" in errors[0]
    one, two = newest(tmp_path / "one"), newest(tmp_path / "two")
    assert one["step"] == two["step"] == 21
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=0, atol=1e-5, msg=name)
    assert one["best"] == pytest.approx(two["best"], abs=1e-3)


class OnMeta:
    """A run on the meta device, which holds no values: whoever asks for one gets an error."""

    def __init__(self, folder, *words):
        settings = recipes.parse([*TINY, "--output", str(folder), *words]).settings()
        accelerator = accelerate.Accelerator(cpu=True)
        accelerate.PartialState().device = accelerator.state.device = torch.device("meta")
        generator = torch.Generator
        with pytest.MonkeyPatch.context() as patch:  # there is no generator for that device
            patch.setattr(torch, "Generator", lambda device="cpu": generator())
            self.run = train.Run(settings, accelerator, "none")
        self.loader = train.batches_from(self.run, 0)

    def steps(self, count):
        for step in range(count):
            train.train_step(self.run, self.loader, step)


META = ["--synthetic-images", "8", "--ema", "0.9"]


@pytest.mark.parametrize("loss", ["ohem", "ce"])
def test_a_step_that_does_not_log_waits_for_nothing(tmp_path, loss):
    OnMeta(tmp_path, *META, "--loss", loss).steps(3)


@pytest.mark.parametrize(
    "peek", [torch.Tensor.item, torch.Tensor.cpu, torch.Tensor.tolist, float, bool]
)
def test_a_step_that_waits_would_be_noticed(tmp_path, peek):
    meta = OnMeta(tmp_path, *META)
    meta.steps(1)
    criterion = meta.run.criterion

    def peeking(output, target):
        loss = criterion(output, target)
        peek(loss.detach())
        return loss

    meta.run.criterion = peeking
    with pytest.raises((RuntimeError, NotImplementedError)):
        meta.steps(1)


def test_processes_share_every_epoch_without_overlap():
    def batches(rank, processes, size, first=0):
        sampler = train.GlobalBatches(13, size, rank, processes, seed=5)
        sampler.epoch, sampler.first = 2, first
        return list(sampler)

    pairs = zip(batches(0, 2, 2), batches(1, 2, 2), strict=True)
    assert [a + b for a, b in pairs] == batches(0, 1, 4)
    assert batches(0, 1, 4, first=1) == batches(0, 1, 4)[1:]
    drawn = [index for batch in batches(0, 1, 4) for index in batch]
    assert len(set(drawn)) == 12


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_any_argument_overrides_any_recipe(name, capsys):
    assert train.main(["--recipe", name, "--lr", "0.5", "--crop-size", "64", "--print-config"]) == 0
    about, _, shown = capsys.readouterr().out.partition("{")
    shown = json.loads("{" + shown)
    assert about.strip() == recipes.RECIPES[name].about
    assert (shown["lr"], shown["crop_size"]) == (0.5, [64, 64])
    for key, value in recipes.RECIPES[name].settings.items():
        assert key == "lr" or shown[key] == value


def test_the_known_command_is_understood():
    words = shlex.split("--model ddrnet_23 --lr 0.001 --epochs 50 --data-path ROOT")
    settings = recipes.parse(words).settings()
    assert (settings.model, settings.lr, settings.epochs) == ("ddrnet_23", 0.001, 50)
    assert (settings.data, settings.data_path) == ("cityscapes", "ROOT")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "cityscapes"], "--data-path"),
        (["--synthetic-images", "1"], "make no step"),
        (["--resume"], "no checkpoint"),
        (["--init", "nonsense"], "nonsense"),
    ],
)
def test_a_wrong_argument_is_one_line(tmp_path, caplog, words, message):
    assert run_here(tmp_path / "run", *words) == 1
    assert message in caplog.text
