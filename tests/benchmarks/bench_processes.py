"""Time `ddrnet predict` in one process and in two: `python tests/benchmarks/bench_processes.py`.

Each process computes with one thread and, where the system allows it, has a core of its own. The
runs take turns. Starting, that is imports, the model and the rendezvous, is timed by runs over two
images and shown apart.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from harness import print_conditions
from PIL import Image
from process_group import free_port

import ddrnet

MODEL = "ddrnet_23_nano.camvid"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print_conditions()
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (2, args.images):
            write_photos(Path(folder) / str(count), count, args.size)
        for _ in range(args.repeats):
            for count in (2, args.images):
                for processes in (1, 2):
                    taken = predict(Path(folder) / str(count), processes)
                    seconds.setdefault((count, processes), []).append(taken)
    middle = {key: statistics.median(times) for key, times in seconds.items()}
    one, two = (middle[args.images, n] for n in (1, 2))
    alone, both = (middle[args.images, n] - middle[2, n] for n in (1, 2))
    height, width = args.size
    print(f"{args.images} images of {height} x {width}, medians of {args.repeats} runs")
    print(f"with starting:    {one:6.1f} s and {two:6.1f} s: {one / two:.2f} times faster")
    print(f"without starting: {alone:6.1f} s and {both:6.1f} s: {alone / both:.2f} times faster")


def write_photos(folder, count, size):
    """Write rendered streets as PNG files; ten different ones in turn."""
    folder.mkdir()
    streets = ddrnet.data.SyntheticStreets(min(count, 10), size)
    for index in range(count):
        path = folder / f"{index:04}.png"
        if index < 10:
            Image.fromarray(streets[index][0].permute(1, 2, 0).numpy()).save(path)
        else:
            shutil.copy(folder / f"{index % 10:04}.png", path)


def predict(folder, processes):
    """Return the seconds that so many processes take for the images of a folder."""
    command = [sys.executable, "-m", "ddrnet", "predict", folder, "--model", MODEL]
    group = {"WORLD_SIZE": str(processes), "OMP_NUM_THREADS": "1"}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as out:
        command += ["--device", "cpu", "--no-overlay", "--out", out]
        started = time.perf_counter()
        running = [
            subprocess.Popen(
                [*pinned(rank), *command],
                env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
            )
            for rank in range(processes)
        ]
        assert [process.wait() for process in running] == [0] * processes
        taken = time.perf_counter() - started
        assert len(list(Path(out).glob("*.labels.png"))) == len(list(folder.iterdir()))
    return taken


def pinned(rank):
    return ["taskset", "-c", str(rank)] if shutil.which("taskset") else []


if __name__ == "__main__":
    main()
