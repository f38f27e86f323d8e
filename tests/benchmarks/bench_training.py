"""Time training against a plain loop: `python tests/benchmarks/bench_training.py`.

The plain loop is that of published code (`tests/references.py`): images normalised one by one on
the host, float32, NCHW, interpolated logits, OHEM by sorting. First a whole step, from uint8 images
on the host to changed weights: DDRNet-23-slim, two images of 512 x 512. The loops take turns, and
memory is what a fresh process needs on top of one that takes no step. Then the step of the recorded
CamVid runs, part by part: ddrnet_23_nano and ddrnet_23_slim, Muon, eight crops of 288 x 384,
against interpolated logits and an orthogonalization per weight. Then, with DDRNET_CAMVID set, both
loops train ddrnet_23_nano on the real CamVid, seed after seed, each in a process of its own that
reads the images itself; ours is `ddrnet train`.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import timm
import torch
from harness import medians, own_peak_mib, peak_mib, print_conditions
from references import (
    plain_normalisation,
    plain_training,
    plain_training_sample,
    plain_training_step,
)
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch.nn import functional as F

import ddrnet
from ddrnet.data import CamVid, Normalize
from ddrnet.labels import CAMVID
from ddrnet.losses import AuxiliaryLoss, CrossEntropyLoss, OhemCrossEntropyLoss
from ddrnet.training import Settings
from ddrnet.training.building import build_optimizer

TRAIN = "-m", "ddrnet", "train"
SIDE, STEP_MIN_KEPT = 512, 2 * 512 * 512 // 48
CROP, SCALE, BATCH, LR, MIN_KEPT = (180, 240), (0.5, 2.0), 8, 0.01, 8 * 180 * 240 // 48


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("step", "recipe", "camvid"))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CamVid: the first")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peak", metavar="LOOP")
    parser.add_argument("--train-plainly", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    torch.set_num_threads(args.threads[0])
    if args.peak:
        print_peak(args.peak)
    elif args.train_plainly:
        train_plainly(args.train_plainly, args.epochs, args.seeds[0])
    else:
        if args.only in (None, "step"):
            report_steps(args.threads, args.turns)
        if args.only in (None, "recipe"):
            report_recipe(args.threads[0], args.turns)
        if args.only in (None, "camvid") and "DDRNET_CAMVID" in os.environ:
            report_camvid(args.threads[0], args.epochs, args.seeds)


def report_steps(numbers_of_threads, turns):
    """Print time and memory of a step."""
    for threads in numbers_of_threads:
        torch.set_num_threads(threads)
        print_conditions(timm)
        times = medians(steps(), turns)
        empty, *peaks = (
            peak_mib(__file__, "--threads", str(threads), "--peak", loop)
            for loop in ("none", "plain", "ours")
        )
        plain, ours = (peak - empty for peak in peaks)
        print(
            f"step of ddrnet_23_slim, 2 x {SIDE} x {SIDE}, n = {turns}, medians: plain "
            f"{1e3 * times['plain']:.0f} ms, ours {1e3 * times['ours']:.0f} ms, "
            f"{times['plain'] / times['ours']:.2f} x; peak memory: plain {plain:.0f} MiB, ours "
            f"{ours:.0f} MiB, {plain / ours:.2f} x",
            flush=True,
        )


def print_peak(loop):
    """Print the peak memory of this process after three steps of a loop, or of none."""
    step = steps().get(loop, lambda: None)
    for _ in range(3):
        step()
    print(own_peak_mib())


def steps():
    """Return, by name of a loop, a function that changes the weights of its model once."""
    images = np.random.default_rng(0).integers(256, size=(2, SIDE, SIDE, 3), dtype=np.uint8)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(19, (2, SIDE // 16, SIDE // 16), generator=generator)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    as_stored = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels.to(torch.uint8)
    return {"plain": plain_step(images, labels), "ours": our_step(*as_stored)}


def plain_step(images, labels):
    model = network("ddrnet_23_slim", 19)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def step():
        batch = [plain_normalisation(image).transpose(2, 0, 1) for image in images]
        batch = torch.from_numpy(np.stack(batch))
        return plain_training_step(model, optimizer, batch, labels, STEP_MIN_KEPT)

    return step


def our_step(images, labels):
    model = network("ddrnet_23_slim", 19).to(memory_format=torch.channels_last)
    normalize = Normalize.from_model(model)
    criterion = AuxiliaryLoss(OhemCrossEntropyLoss(min_kept=STEP_MIN_KEPT))
    groups = model.parameter_groups(0.01, weight_decay=5e-4)
    optimizer = create_optimizer_v2(groups, "momentum", 0.01, momentum=0.9)

    def step():
        batch = normalize(images.to(memory_format=torch.channels_last))
        criterion(model(batch), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def report_recipe(threads, turns):
    """Print the processor time of each part of a step of the CamVid recipe, plain and ours."""
    torch.set_num_threads(threads)
    print_conditions(timm)
    for name in ("ddrnet_23_nano", "ddrnet_23_slim"):
        ways = {"plain": recipe_step(name, plain=True), "ours": recipe_step(name, plain=False)}
        parts = {way: [] for way in ways}
        for turn in range(turns + 2):  # timm's Muon takes the first step in both
            for way, step in ways.items():
                marks = [time.process_time(), *step()]
                if turn >= 2:
                    parts[way].append([after - before for before, after in pairwise(marks)])
        print(f"step of {name}, 8 x 288 x 384, n = {turns}, median processor time in ms")
        medians_of = {
            way: [1e3 * statistics.median(column) for column in zip(*rows, strict=True)]
            for way, rows in parts.items()
        }
        for way, columns in medians_of.items():
            shown = "  ".join(
                f"{part} {value:.0f}" for part, value in zip(PARTS, columns, strict=True)
            )
            print(f"{way:5} {shown}  all {sum(columns):.0f}")
        plain, ours = (sum(columns) for columns in medians_of.values())
        print(f"{plain / ours:.2f} x", flush=True)


PARTS = "normalise", "forward", "loss", "backward", "optimizer", "average"
"""What a step of the recipe consists of."""


def recipe_step(name, plain):
    """Return a function that changes the weights once and yields the time after each part."""
    model = network(name, 11).to(memory_format=torch.channels_last)
    normalize, steps = Normalize.from_model(model), itertools.count(1)
    settings = Settings(optimizer="muon", lr=0.015, weight_decay=0.02, decay_norm_and_bias=False)
    optimizer = build_optimizer(settings, model)
    if plain:
        optimizer = timm.optim.Muon(optimizer.param_groups, **optimizer.defaults)
    criterion = AuxiliaryLoss(InterpolatedCrossEntropy() if plain else CrossEntropyLoss())
    average = ModelEmaV3(model, 0.998, use_warmup=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 3, 288, 384), dtype=torch.uint8, generator=generator)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(11, (8, 18, 24), generator=generator).to(torch.uint8)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)

    def step():
        batch = normalize(images)
        yield time.process_time()
        output = model(batch)
        yield time.process_time()
        loss = criterion(output, labels)
        yield time.process_time()
        loss.backward()
        yield time.process_time()
        optimizer.step()
        optimizer.zero_grad()
        yield time.process_time()
        average.update(model, next(steps))
        yield time.process_time()

    return step


class InterpolatedCrossEntropy(torch.nn.Module):
    """The loss of the interpolated logits."""

    def forward(self, logits, target):
        logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(logits, target.long(), ignore_index=255)


def network(name, classes, seed=0):
    """Return a new model in training, with an auxiliary head and logits at stride 8."""
    torch.manual_seed(seed)
    return ddrnet.create_model(name, num_classes=classes, aux_head=True, upsample=False)


def report_camvid(threads, epochs, seeds):
    """Print the scores and times of both loops."""
    torch.set_num_threads(threads)
    print_conditions(timm)
    print(
        f"CamVid, ddrnet_23_nano, {epochs} epochs, batch {BATCH}, crop {CROP[0]} x {CROP[1]}, "
        f"scale {SCALE[0]}-{SCALE[1]}, SGD {LR} poly, OHEM 0.9 / {MIN_KEPT}; val mean IoU at "
        "360 x 480, wall time of the process"
    )
    scores, seconds = {"plain": [], "ours": []}, {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for loop, command in (("plain", plain_command), ("ours", our_command)):
                output = Path(folder) / f"{loop}_{seed}"
                wall, processor = run(command(output, epochs, seed), threads)
                seconds[loop].append((wall, processor))
                scores[loop].append(score(output))
                print(
                    f"{loop:5} seed {seed}: {scores[loop][-1]:.4f}, {wall:.0f} s, of which the "
                    f"processor worked {processor:.0f} s",
                    flush=True,
                )
    summarise(scores, seconds)


def plain_command(output, epochs, seed):
    own = "--train-plainly", output, "--epochs", epochs, "--seeds", seed
    return [sys.executable, __file__, *own]


def our_command(output, epochs, seed):
    options = (
        "--recipe paper --model ddrnet_23_nano --init none --data camvid --class-weights none "
        f"--crop-size {CROP[0]}x{CROP[1]} --scale {SCALE[0]} {SCALE[1]} --batch-size {BATCH} "
        f"--epochs {epochs} --lr {LR} --min-kept {MIN_KEPT} --precision no --workers 0 "
        f"--validate-every 0 --seed {seed} --cpu"
    )
    folders = "--data-path", os.environ["DDRNET_CAMVID"], "--output", output
    return [sys.executable, *TRAIN, *options.split(), *folders]


def run(command, threads):
    """Run a command; return its seconds by the clock and by the processors."""
    number = str(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number}
    start, busy = time.perf_counter(), processor_seconds()
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)
    return time.perf_counter() - start, processor_seconds() - busy


def processor_seconds():
    """Return the processor seconds of all ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def train_plainly(output, epochs, seed):
    """Train with the plain loop; write the weights where `ddrnet train` does."""
    dataset = CamVid(os.environ["DDRNET_CAMVID"])
    model = network("ddrnet_23_nano", len(dataset.classes), seed)

    def load(index, rng):
        sample = dataset.samples[index]
        return plain_training_sample(sample.image, sample.labels, CAMVID.rows, CROP, SCALE, rng)

    plain_training(model, load, len(dataset), epochs, BATCH, LR, MIN_KEPT, seed)
    ddrnet.save_pretrained(model, output / "last")


def score(output):
    """Return the val mean IoU of the weights that a loop saved."""
    model = ddrnet.create_model(f"local-dir:{output / 'last'}", True)
    return ddrnet.evaluate(model, CamVid(os.environ["DDRNET_CAMVID"], "val")).mean_iou


def summarise(scores, seconds):
    """Print mean and range of both loops, and whether each mean lies in the range of the other."""
    means = {loop: statistics.mean(values) for loop, values in scores.items()}
    for loop, other in (("plain", "ours"), ("ours", "plain")):
        lowest, highest = min(scores[loop]), max(scores[loop])
        inside = "within" if lowest <= means[other] <= highest else "NOT within"
        print(
            f"{loop:5} mean {means[loop]:.4f}, from {lowest:.4f} to {highest:.4f}; the mean of "
            f"{other} lies {inside}"
        )
    for index, name in enumerate(("time", "processor time")):
        plain, ours = (
            statistics.median(pair[index] for pair in seconds[loop]) for loop in ("plain", "ours")
        )
        print(f"median {name}: plain {plain:.0f} s, ours {ours:.0f} s, {plain / ours:.2f} x")


if __name__ == "__main__":
    main()
