"""Two torchrun agents on loopback, which find each other by a rendezvous as two machines do."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from data_files import save_png
from PIL import Image
from process_group import free_port

import ddrnet
from ddrnet import cli
from ddrnet.training import run_checkpoints

pytestmark = pytest.mark.slow

MODEL = "ddrnet_23_nano.camvid"
LONGEST_WAIT = 300  # seconds


# Without it, torch 2.14 lets a machine that comes back wait for an address that the survivor does
# not announce again.
SURVIVES = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def start_agent(command, port, folder, number):
    """Start `ddrnet COMMAND` by an agent of one process."""
    launcher = (
        "-m torch.distributed.run --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d "
        f"--max-restarts 3 --rdzv-endpoint 127.0.0.1:{port} --rdzv-id test "
        "--local-addr 127.0.0.1 -m ddrnet"
    )
    with (folder / f"errors{number}.txt").open("a") as errors:
        return subprocess.Popen(
            [sys.executable, *launcher.split(), *map(str, command)],
            env=os.environ | SURVIVES | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def wait_for_port(port):
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    pytest.fail("the first agent does not listen")


def processes_of(agent):
    process = psutil.Process(agent.pid)
    return [process, *process.children(recursive=True)]


def finish(agents, folder):
    """Return what each agent's process prints."""
    try:
        outputs = [agent.communicate(timeout=LONGEST_WAIT)[0] for agent in agents]
    finally:
        for agent in agents:
            if agent.poll() is None:
                for process in processes_of(agent):
                    process.kill()
    said = [path.read_text() for path in sorted(folder.glob("errors*.txt"))]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(said)
    return outputs


def run_on_two_machines(command, folder):
    port = free_port()
    return finish([start_agent(command, port, folder, number) for number in range(2)], folder)


def kill_when(happened, agents, command, port, folder):
    """Kill the second machine when something has happened, and start it again."""
    end = time.monotonic() + LONGEST_WAIT
    while not happened():
        assert time.monotonic() < end
        assert all(agent.poll() is None for agent in agents)
        time.sleep(0.01)
    for process in processes_of(agents[1]):
        process.kill()
    agents[1].communicate()
    agents[1] = start_agent(command, port, folder, 2)


@pytest.fixture
def one_thread():
    """Compute here as one process of torchrun does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_data(root, images):
    """A folder of `images` images of 64 x 96 and their labels, with the classes of CamVid."""
    random = np.random.default_rng(0)
    for index in range(images):
        save_png(root / "images" / f"{index}.png", random.integers(0, 256, (64, 96, 3)))
        save_png(root / "labels" / f"{index}.png", random.integers(0, 11, (64, 96)))
    names = [label.name for label in ddrnet.get_weights(MODEL).classes]
    (root / "classes.txt").write_text("\n".join(names))
    return root


@pytest.mark.usefixtures("one_thread")
def test_scores_equal_those_of_one_machine(tmp_path, capsys):
    data = write_data(tmp_path / "data", 7)
    command = ["evaluate", "--model", MODEL, "--data-path", str(data), "--device", "cpu", "--json"]
    assert cli.main(command) == 0
    here = json.loads(capsys.readouterr().out)
    (both,) = filter(None, run_on_two_machines(command, tmp_path))
    assert json.loads(both) == here
    assert sum(map(sum, here["confusion"])) == 7 * 64 * 96


@pytest.mark.usefixtures("one_thread")
def test_labels_equal_those_of_one_machine(tmp_path):
    data = write_data(tmp_path / "data", 7)
    command = ["predict", data / "images", "--model", MODEL, "--device", "cpu", "--out"]
    outputs = run_on_two_machines([*command, tmp_path / "out"], tmp_path)
    assert [len(output.splitlines()) for output in outputs] in ([4, 3], [3, 4])
    predictor = ddrnet.Predictor(MODEL, device="cpu")
    for index in range(7):
        labels = np.asarray(Image.open(tmp_path / "out" / f"{index}.labels.png"))
        assert np.array_equal(labels, predictor(data / "images" / f"{index}.png").labels)


TRAIN = (
    "train --model ddrnet_23_nano --init none --data folder --cpu --crop-size 64 --scale 1 1 "
    "--loss ce --freeze-bn --precision no --class-weights none --workers 0 --lr 1e-4 "
    "--validate-every 0 --recipe paper --epochs 7"
)


def weights_of(folder):
    return run_checkpoints.read(Path(folder))[1]["model"]


def write_training_data(root):
    """Twelve images of three classes: 21 steps of 4 are 7 epochs."""
    random = np.random.default_rng(0)
    for index in range(12):
        save_png(root / f"images/train/{index}.png", random.integers(0, 256, (64, 64, 3)))
        save_png(root / f"labels/train/{index}.png", random.integers(0, 3, (64, 64)))
    (root / "classes.txt").write_text("one\ntwo\nthree")
    return root


def assert_close_weights(first, second):
    expected, found = weights_of(first), weights_of(second)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)


def test_twenty_steps_give_the_weights_of_one_machine_with_the_same_batch(tmp_path):
    data = write_training_data(tmp_path / "data")
    words = [*shlex.split(TRAIN), "--data-path", data]
    one = [*words, "--batch-size", 4, "--output", tmp_path / "one"]
    alone = [sys.executable, "-m", "ddrnet", *map(str, one)]
    subprocess.run(alone, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    run_on_two_machines([*words, "--batch-size", 2, "--output", tmp_path / "two"], tmp_path)
    assert_close_weights(tmp_path / "one", tmp_path / "two")


def test_training_goes_on_by_itself_when_a_machine_is_lost_and_comes_back(tmp_path):
    data = write_training_data(tmp_path / "data")
    words = [*shlex.split(TRAIN), "--data-path", data, "--batch-size", 2, "--save-every", 1]
    words += ["--continue", "--output"]
    run_on_two_machines([*words, tmp_path / "whole"], tmp_path)
    lost, port = tmp_path / "lost", free_port()
    command = [*words, lost]
    agents = [start_agent(command, port, tmp_path, 0)]
    wait_for_port(port)  # the first agent is the one that the others need
    agents.append(start_agent(command, port, tmp_path, 1))
    kill_when(lambda: any(lost.glob("checkpoint_*.pt")), agents, command, port, tmp_path)
    finish(agents, tmp_path)
    said = "".join(path.read_text() for path in tmp_path.glob("errors*.txt"))
    assert "resuming from" in said
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(lost)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.usefixtures("one_thread")
def test_prediction_loses_nothing_when_a_machine_is_lost_and_comes_back(tmp_path):
    data, out = write_data(tmp_path / "data", 120), tmp_path / "out"
    command = ["predict", data / "images", "--model", MODEL, "--device", "cpu", "--out", out]
    command += ["--skip-existing", "--no-overlay"]
    port = free_port()
    agents = [start_agent(command, port, tmp_path, 0)]
    wait_for_port(port)
    agents.append(start_agent(command, port, tmp_path, 1))
    # Waits for an image of the machine that is lost.
    kill_when((out / "1.labels.png").exists, agents, command, port, tmp_path)
    finish(agents, tmp_path)
    predictor = ddrnet.Predictor(MODEL, device="cpu")
    for index in range(120):
        labels = np.asarray(Image.open(out / f"{index}.labels.png"))
        assert np.array_equal(labels, predictor(data / "images" / f"{index}.png").labels)


@pytest.mark.usefixtures("one_thread")
def test_scores_are_whole_when_a_machine_is_lost_and_comes_back(tmp_path, capsys):
    data, saved = write_data(tmp_path / "data", 120), tmp_path / "saved"
    command = ["evaluate", "--model", MODEL, "--data-path", str(data), "--device", "cpu", "--json"]
    assert cli.main(command) == 0
    here = json.loads(capsys.readouterr().out)
    command += ["--save-labels", str(saved)]
    port = free_port()
    agents = [start_agent(command, port, tmp_path, 0)]
    wait_for_port(port)
    agents.append(start_agent(command, port, tmp_path, 1))
    kill_when(lambda: len(list(saved.glob("*"))) > 1, agents, command, port, tmp_path)
    (both,) = filter(None, finish(agents, tmp_path))
    assert json.loads(both) == here
