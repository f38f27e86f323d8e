"""Time `ddrnet predict` from disk to label files: `python tests/benchmarks/bench_stream.py`.

A stand-in for the network waits as long as an accelerator would compute, so that all that remains
is reading, labels and writing, and how well they overlap. The memory is that of this process after
a quarter of the images and at the end.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from harness import print_conditions
from PIL import Image

import ddrnet
from ddrnet.cli import main as ddrnet_command
from ddrnet.predictor.engine import TorchEngine


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024))
    parser.add_argument("--wait", type=float, default=50.0, help="milliseconds")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print_conditions()
    seen, waits, starts, logits = [], [], [], []
    compute = TorchEngine.__call__

    def stand_in(engine, images):
        if not logits:  # of the first image, computed once
            logits.append(compute(engine, images))
        started = time.perf_counter()
        starts.append(started)
        time.sleep(args.wait / 1000)
        waits.append(time.perf_counter() - started)
        seen.append(memory_mib())
        return logits[0]

    TorchEngine.__call__ = stand_in
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder) / "photos", args.images, args.size)
        command = ["predict", str(photos), "--model", "ddrnet_23_nano.camvid", "--device", "cpu"]
        for title, options in (("label files", ["--no-overlay"]), ("and overlays", [])):
            for values in (seen, waits, starts):
                values.clear()
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                code = ddrnet_command([*command, *options, "--out", f"{folder}/{title}", "--json"])
            seconds = time.perf_counter() - starts[0]
            rows = map(json.loads, printed.getvalue().splitlines())
            labels = statistics.median(row["milliseconds"]["labels"] for row in rows)
            assert code == 0
            assert len(printed.getvalue().splitlines()) == args.images
            print(
                f"{args.images} images of {args.size[0]} x {args.size[1]}, {title}: "
                f"{1000 * seconds / args.images:.1f} ms per image; the stand-in alone "
                f"{1000 * statistics.mean(waits):.1f} ms, labels {labels:.1f} ms; memory "
                f"{seen[len(seen) // 4]:.0f} MiB after a quarter, {seen[-1]:.0f} MiB at the end"
            )


def write_photos(folder, number, size):
    """Write rendered streets as PNG, shifted so that no two are alike."""
    folder.mkdir()
    street, _ = ddrnet.data.SyntheticStreets(1, tuple(size))[0]
    pixels = street.permute(1, 2, 0).numpy()
    for index in range(number):
        Image.fromarray(np.roll(pixels, 3 * index, 1)).save(
            folder / f"{index:04}.png", compress_level=1
        )
    return folder


def memory_mib():
    """Return the memory of this process now (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
