"""Time losses, argmax and metrics against plain ones: `python tests/benchmarks/bench_losses.py`.

The references are HRNet's OHEM (interpolate, softmax, sort), interpolate + `F.cross_entropy`,
interpolate + argmax, and torchmetrics' confusion matrix. Labels are rendered streets; logits at
stride 8 are noise ("untrained") or the labels' average and a little noise ("trained"). Ways take
turns; memory is what a fresh process needs on top of one that only loads the inputs. With
DDRNET_CAMVID set, the same on the labels of the real CamVid, 360 x 480.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torchmetrics
from harness import medians, own_peak_mib, peak_mib, print_conditions
from references import ohem_cross_entropy
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from ddrnet.data import CamVid, SyntheticStreets
from ddrnet.losses import CrossEntropyLoss, OhemCrossEntropyLoss
from ddrnet.metrics import SegmentationMetrics
from ddrnet.upsampling import upsample, upsample_argmax

MIN_KEPT = {"streets": 131072, "camvid": 360 * 480 // 24}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak", nargs=3, metavar=("INPUTS", "TASK", "WAY"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        inputs, task, way = args.peak
        tasks(**torch.load(inputs))[task].get(way, lambda: None)()
        print(own_peak_mib())
        return
    print_conditions(torchmetrics)
    print(f"medians of {args.repeats} turns; peak memory on top of the inputs")
    print(f"{'':59} plain      ours  ratio      plain     ours  ratio")
    with tempfile.TemporaryDirectory() as folder:
        for data in ("streets", "camvid") if "DDRNET_CAMVID" in os.environ else ("streets",):
            labels, classes = label_maps(data)
            for weights in ("untrained", "trained"):
                logits = logits_at_stride_8(labels, classes, trained=weights == "trained")
                predicted = upsample_argmax(logits[:1], labels.shape[1:])
                inputs = {"labels": labels, "logits": logits, "predicted": predicted}
                inputs["min_kept"] = MIN_KEPT[data]
                torch.save(inputs, file := f"{folder}/{data}_{weights}.pt")
                for task, ways in tasks(**inputs).items():
                    report(f"{data:8}{weights:10}{task:41}", ways, args.repeats, file, task)


def report(title, ways, repeats, file, task):
    """Print one row of the table."""
    times = medians(ways, repeats)
    empty, *peaks = (
        peak_mib(__file__, "--peak", file, task, way) for way in ("none", "plain", "ours")
    )
    plain, ours = (max(peak - empty, 1) for peak in peaks)
    print(
        f"{title} {1e3 * times['plain']:7.1f} ms {1e3 * times['ours']:6.1f} ms "
        f"{times['plain'] / times['ours']:5.1f} x {plain:6.0f} MiB {ours:4.0f} MiB "
        f"{plain / ours:5.1f} x",
        flush=True,
    )


def tasks(labels, logits, predicted, min_kept):
    """Return, by name, the plain way and our way, on the same inputs."""
    classes = logits.shape[1]
    crops, crop_logits = labels[..., :1024].contiguous(), logits[..., :128].contiguous()
    ohem, cross_entropy = OhemCrossEntropyLoss(0.9, min_kept), CrossEntropyLoss()
    shape = " x ".join(map(str, crops.shape))
    table = {
        f"OHEM with gradient, {shape}": step(
            crop_logits, crops, lambda z, t: ohem_cross_entropy(z, t, 0.9, min_kept), ohem
        ),
        f"cross entropy with gradient, {shape}": step(
            crop_logits, crops, plain_cross_entropy, cross_entropy
        ),
    }
    image, target = logits[:1], labels[:1]
    shape = " x ".join(map(str, target.shape[1:]))
    table[f"argmax at full size, {shape}"] = {
        "plain": lambda: upsample(image, target.shape[1:]).argmax(1),
        "ours": lambda: upsample_argmax(image, target.shape[1:]),
    }
    for dtype in (torch.int64, torch.uint8):
        name = f"metric update, {dtype}, {shape}"
        table[name] = metric(predicted.to(dtype), target.to(dtype), classes)
    return table


def step(logits, target, plain, ours):
    """Return both ways of computing a loss and its gradient."""

    def run(criterion):
        leaf = logits.clone().requires_grad_()
        criterion(leaf, target).backward()

    return {"plain": lambda: run(plain), "ours": lambda: run(ours)}


def plain_cross_entropy(logits, target):
    return F.cross_entropy(upsample(logits, target.shape[1:]), target, ignore_index=255)


def metric(predicted, target, classes):
    """Return both ways of counting one image."""
    plain = MulticlassConfusionMatrix(classes, ignore_index=255)
    ours = SegmentationMetrics(classes)
    return {
        "plain": lambda: plain.update(predicted, target),
        "ours": lambda: ours.update(predicted, target),
    }


def label_maps(data):
    """Return two maps of true classes, (2, H, W) int64, and the number of classes."""
    if data == "camvid":
        dataset = CamVid(os.environ["DDRNET_CAMVID"])
        return torch.stack([dataset[index][1] for index in range(2)]), len(dataset.classes)
    streets = SyntheticStreets(2, (1024, 2048))
    return torch.stack([labels for _, labels in streets]).long(), 19


def logits_at_stride_8(labels, classes, *, trained):
    """Return noise, or a little of it plus 12 times each class's share of 8 x 8 pixels."""
    generator = torch.Generator().manual_seed(0)
    shares = [F.avg_pool2d((labels == k).float(), 8, ceil_mode=True) for k in range(classes)]
    noise = torch.randn(2, classes, *shares[0].shape[1:], generator=generator)
    return 12 * torch.stack(shares, 1) + 0.5 * noise if trained else noise


if __name__ == "__main__":
    main()
