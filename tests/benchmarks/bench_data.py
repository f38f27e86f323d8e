"""Time a training sample against the plain way: `python tests/benchmarks/bench_data.py`.

One thread, PNG of 2048 x 1024, scale 0.5-2, crop 1024, flip: the reference in
`tests/references.py`, ours from the files, ours from the decoded cache, taken in turns, on rendered
streets or with `--root` on Cityscapes. With DDRNET_CAMVID set, the same on the real CamVid, 480 x
360, crop 360.
"""

import argparse
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import PIL
import torch
import torchvision
from data_files import save_png
from references import plain_training_sample

from ddrnet.data import CamVid, Cityscapes, train_transform
from ddrnet.labels import CAMVID, CITYSCAPES


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="a Cityscapes folder")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{processor()}, {platform.system()}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}, "
        f"1 thread, n = {args.images} images x {args.epochs} epochs, medians"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or write_streets(Path(folder) / "streets", args.images)
        report("2048 x 1024, crop 1024", 1024, CITYSCAPES, Cityscapes, root, folder, args)
        if camvid := os.environ.get("DDRNET_CAMVID"):
            report("CamVid 480 x 360, crop 360", 360, CAMVID, CamVid, camvid, folder, args)


def report(title, crop, table, dataset_class, root, folder, args):
    """Print a row per way of reading a sample."""
    transforms = train_transform(crop)
    files = dataset_class(root, transforms=transforms)
    cached = dataset_class(root, transforms=transforms, cache_dir=Path(folder) / "cache")
    for index in range(args.images):
        cached[index]
    rng = random.Random(0)

    def plain(index):
        _, image, labels, _ = files.samples[index]
        return plain_training_sample(image, labels, table.rows, (crop, crop), (0.5, 2.0), rng)

    ways = {"plain reference": plain, "from files": files.__getitem__, "cached": cached.__getitem__}
    seconds = {name: [] for name in ways}
    for epoch in range(args.epochs):
        files.set_epoch(epoch)
        cached.set_epoch(epoch)
        for index in range(args.images):
            for name, way in ways.items():
                start = time.perf_counter()
                way(index)
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        ratio = medians["plain reference"] / median
        print(f"{title:28} {name:16} {1e3 * median:8.2f} ms {ratio:6.2f} x")


def write_streets(root, count):
    """Write rendered streets in the layout of Cityscapes."""
    from ddrnet.data import SyntheticStreets

    ids = np.frombuffer(CITYSCAPES.train_id_to_id, np.uint8)
    for index, (image, labels) in enumerate(SyntheticStreets(count, (1024, 2048))):
        stem = f"train/street/street_{index:06d}_000019"
        save_png(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", image.permute(1, 2, 0))
        save_png(root / "gtFine" / f"{stem}_gtFine_labelIds.png", ids[labels])
    return root


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
