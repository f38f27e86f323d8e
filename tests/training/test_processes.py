"""The training loop in several processes: gloo on the CPU, as GPUs do it with NCCL."""

import os
import shlex
import signal
from pathlib import Path

import pytest
from process_group import free_port, run_in_group
from training_runs import (
    FEW_CLASSES,
    LEARNED,
    TINY,
    Training,
    assert_close_weights,
    assert_same_losses,
    assert_same_run,
    log_of,
    newest,
    run_here,
    save_teacher,
    torchrun,
    write_labelled_folder,
)

from ddrnet.training import run_checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_process")]


def accelerate_launch(processes):
    return (
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", processes),
        *("--main_process_port", free_port()),
    )


@pytest.mark.parametrize(
    ("launcher", "taught"), [(torchrun, False), (accelerate_launch, False), (torchrun, True)]
)
def test_two_processes_equal_one_with_twice_the_batch(tmp_path, launcher, taught):
    data = write_labelled_folder(tmp_path / "data")
    if taught:
        save_teacher(tmp_path / "teacher", FEW_CLASSES)
    words = (
        f"--data folder --data-path {data} --loss ce --freeze-bn --scale 1 1 --epochs 7 --lr 1e-4 "
        "--validate-every 7 --recipe paper --class-weights none --log-every 5"
    ).split()
    words += ["--teacher", tmp_path / "teacher", "--temperature", 2] if taught else []
    assert run_here(tmp_path / "one", *words, "--batch-size", 4) == 0
    two = Training(tmp_path / "two", *words, launcher=launcher(2))
    assert two.wait() == 0, two.said
    assert "processes: 2 (cpu)" in two.said
    assert "SyncBN needs GPUs" in two.said
    assert two.said.count("processes: ") == 1, "the first process speaks for all"
    assert newest(tmp_path / "one")["step"] == newest(tmp_path / "two")["step"] == 21
    assert_close_weights(tmp_path / "one", tmp_path / "two", 1e-5)
    assert newest(tmp_path / "one")["best"] == pytest.approx(newest(two.folder)["best"], abs=1e-3)
    assert_same_losses(tmp_path / "one", two.folder, rel=1e-4)


VALIDATE = """
    import os, sys
    from pathlib import Path

    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size)
    )
    sys.path.insert(0, {here!r})
    from training_runs import typed
    from ddrnet.training import loop

    torch.set_num_threads(1)
    run, progress = loop.start(typed({words!r}))
    assert run.accelerator.num_processes == size
    with torch.no_grad():
        for name, statistics in run.network.named_buffers():
            if name.endswith("running_mean"):  # as if each had seen batches of its own
                statistics.add_(torch.randn(len(statistics)) + rank)
    monitor = loop.Monitor(Path({folder!r}), 0, rank == 0, {{}})
    monitor.progress(0, 1, 0.0, 1.0, 1.0, 1)
    loop.validate(run, progress, monitor)
    monitor.close()
    print(progress.best)
"""


def test_validation_is_the_same_in_any_number_of_processes(tmp_path):
    data = write_labelled_folder(tmp_path / "data", val_images=7)
    words = [*TINY, "--data", "folder", "--data-path", str(data)]
    scores = []
    for size in (1, 2, 3):
        folder = tmp_path / str(size)
        folder.mkdir()
        given = [*words, "--output", str(folder / "run")]
        code = VALIDATE.format(here=str(Path(__file__).parent), words=given, folder=str(folder))
        best = set(run_in_group(code, folder, size))
        scores.append(log_of(folder)[-1])
        assert best == {f"{scores[-1]['mean_iou']}\n"}, "every process knows the score"
    assert scores[0] == scores[1] == scores[2]
    assert len(scores[0]["iou"]) == 3
    assert sum(iou > 0 for iou in scores[0]["iou"].values()) > 1, "more than one class is predicted"


def by_hand(folder, *words):
    """Start two processes as torchrun does, without torchrun."""
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [Training(folder, *words, RANK=rank, LOCAL_RANK=rank, **group) for rank in "01"]


def test_two_killed_processes_resume_exactly(tmp_path):
    words = shlex.split("--synthetic-images 16 --epochs 3 --save-every 1 --log-every 3 --ema 0.9")
    whole = Training(tmp_path / "whole", *words, launcher=torchrun(2))
    assert whole.wait() == 0, whole.said
    processes = by_hand(tmp_path / "killed", *words)
    processes[0].wait_for_step(5)
    for each in processes:
        each.process.kill()
        each.wait()
    assert newest(tmp_path / "killed")["step"] < 12
    resumed = Training(tmp_path / "killed", *words, "--resume", launcher=torchrun(2))
    assert resumed.wait() == 0, resumed.said
    assert_same_run(tmp_path / "whole", tmp_path / "killed", LEARNED)
    assert_same_losses(tmp_path / "whole", tmp_path / "killed", rel=1e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_torchrun_interrupted_saves_and_exits(tmp_path, number):
    words = "--synthetic-images 40 --epochs 500 --save-every 1 --log-every 1000 --workers 1"
    words = shlex.split(words)
    run = Training(tmp_path / "run", *words, launcher=torchrun(2))
    run.wait_for_step(2)
    run.process.send_signal(number)
    assert run.wait(60) != 0
    folder = tmp_path / "run"
    assert f"torchrun --nproc-per-node 2 -m ddrnet train --resume {folder}" in run.said
    assert "SIGKILL" not in run.said
    assert "Traceback" not in run.said.partition("saved; continue with")[0]
    assert newest(folder)["step"] >= 2
    with run_checkpoints.lock(folder):
        pass  # the processes are gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_reaches_the_workers_of_none(tmp_path, number):
    words = shlex.split("--synthetic-images 40 --epochs 500 --save-every 1 --workers 2")
    run = Training(tmp_path / "run", *words)
    run.wait_for_step(2)
    os.killpg(run.process.pid, number)
    assert run.wait(60) == 130, run.said
    assert "--resume" in run.said
