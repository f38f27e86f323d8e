"""The processes that torchrun starts, here started by hand."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from process_group import free_port
from torch import distributed

from ddrnet.cli.processes import joined

CODE = """
import json, logging, sys
from torch import distributed
from ddrnet.cli.processes import joined

logging.getLogger("ddrnet").setLevel(logging.INFO)
try:
    with joined(sys.argv[1]) as (device, first):
        seen = [str(device), first, distributed.get_rank(), distributed.get_backend()]
        speaks = logging.getLogger("ddrnet").isEnabledFor(logging.INFO)
        distributed.barrier()  # the other process may still be connecting
        raise KeyError
except KeyError:
    print(json.dumps([*seen, speaks, distributed.is_initialized()]))
"""


def run_pair(device, folder):
    """Return what both of two processes see."""
    script = folder / "process.py"
    script.write_text(textwrap.dedent(CODE))
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, script, device],
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [json.loads(process.communicate(timeout=300)[0]) for process in processes]


def test_a_single_process_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (device, first):
        assert device == torch.device("cpu")
        assert first
        assert not distributed.is_initialized()


@pytest.mark.slow
def test_processes_on_the_cpu_use_gloo_one_speaks_and_an_error_leaves_the_group(tmp_path):
    assert run_pair("cpu", tmp_path) == [
        ["cpu", True, 0, "gloo", True, False],
        ["cpu", False, 1, "gloo", False, False],
    ]


@pytest.mark.slow
def test_processes_share_the_images_and_fail_together(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.fromarray(np.full((40, 48, 3), 50 * index, np.uint8)).save(images / f"{index}.png")
    (images / "4.png").touch()
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "ddrnet", "predict", str(images)]
    command += [
        "--model",
        "ddrnet_23_nano.camvid",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    names = [[line.split()[0][-5:] for line in out.splitlines()] for out, _ in outputs]
    assert names == [["0.png", "2.png"], ["1.png", "3.png"]]
    assert "4.png" in outputs[0][1]
    assert len(list((tmp_path / "out").glob("*.labels.png"))) == 4


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_each_process_takes_a_gpu_of_its_own(tmp_path):
    assert run_pair("cuda", tmp_path) == [
        ["cuda:0", True, 0, "nccl", True, False],
        ["cuda:1", False, 1, "nccl", False, False],
    ]
