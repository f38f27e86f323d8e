"""Fine-tune on few images from head rows by name: `python tests/benchmarks/bench_class_rows.py`.

DDRNET_CAMVID names the folder. Four starts of ddrnet_23_nano take the same steps on the same crops,
seed after seed: from `ddrnet_23_nano.synthetic` (rendered streets, Cityscapes' classes) with
CamVid's classes in the words of the weights, which know all of them; with CamVid's own names, of
which the weights know six; with a fresh head; and from random weights. Each is scored on the whole
split `val` before and after.
"""

import argparse
import itertools
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from harness import print_conditions
from torch.utils.data import DataLoader, Subset

import ddrnet

IMAGES, BATCH, CROP, LR = 50, 4, 256, 1e-3
WORDS = (
    *("sky", "building", "pole", "road", "sidewalk", "vegetation"),
    *("traffic sign", "fence", "car", "person", "rider"),
)
STARTS = {
    "rows by name, words of the weights": {"pretrained": True, "class_names": WORDS},
    "rows by name, CamVid's names": {"pretrained": True, "class_names": ddrnet.CAMVID.classes},
    "fresh head": {"pretrained": True, "num_classes": len(WORDS)},
    "from scratch": {"num_classes": len(WORDS)},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print_conditions()
    scores = {start: [] for start in STARTS}
    for seed, start in itertools.product(args.seeds, STARTS):
        before, after = train(STARTS[start], seed, args.steps)
        scores[start].append((before, after))
        print(f"seed {seed}  {start:36}{before:8.2%} -> {after:.2%}", flush=True)
    print(f"mean IoU on val, {IMAGES} images, {args.steps} steps of {BATCH} crops of {CROP} pixels")
    for start, pairs in scores.items():
        before, after = ([f"{pair[side]:.1%}" for pair in pairs] for side in (0, 1))
        mean = statistics.mean(pair[1] for pair in pairs)
        print(f"{start:36} {mean:.1%}  ({', '.join(after)}; before: {', '.join(before)})")


def train(start, seed, steps):
    """Return the mean IoU before and after the training."""
    root, crops = os.environ["DDRNET_CAMVID"], ddrnet.data.train_transform(CROP)
    dataset = ddrnet.data.CamVid(root, "train", transforms=crops, seed=seed)
    choice, order = (torch.Generator().manual_seed(seed) for _ in range(2))
    chosen = Subset(dataset, torch.randperm(len(dataset), generator=choice)[:IMAGES].tolist())
    loader = DataLoader(chosen, BATCH, shuffle=True, drop_last=True, generator=order)
    torch.manual_seed(seed)
    model = ddrnet.create_model("ddrnet_23_nano.synthetic", upsample=False, **start)
    before = score(model, root)
    normalize = ddrnet.data.Normalize.from_model(model)
    criterion = ddrnet.losses.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameter_groups(LR))
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    for images, labels in itertools.islice(batches(dataset, loader), steps):
        loss = criterion(model(normalize(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return before, score(model, root)


def batches(dataset, loader):
    """Yield batches without end, with new crops in every epoch."""
    for epoch in itertools.count():
        dataset.set_epoch(epoch)
        yield from loader


def score(model, root):
    normalize = ddrnet.data.Normalize.from_model(model)
    metrics = ddrnet.metrics.SegmentationMetrics(model.num_classes)
    for images, labels in DataLoader(ddrnet.data.CamVid(root, "val"), BATCH):
        metrics.update(model.predict(normalize(images)), labels)
    return metrics.compute().mean_iou


if __name__ == "__main__":
    main()
