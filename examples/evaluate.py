"""Score a model on Cityscapes, CamVid or a folder: mean IoU and the IoU of each class.

    python examples/evaluate.py --model ddrnet_23 --data-path /data/cityscapes
    python examples/evaluate.py --model local-dir:runs/cityscapes-ddrnet_23/best --data-path ...

`ddrnet evaluate` does the same with more options, checkpoints of other code, and on several GPUs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import ddrnet

DATASETS = ("cityscapes", "camvid", "folder")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        default="ddrnet_23_slim",
        help="such as ddrnet_23.cityscapes, hf-hub:OWNER/REPO or local-dir:PATH",
    )
    parser.add_argument("--data-path", type=Path, required=True, help="the folder of the data set")
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default="cityscapes",
        help="a folder holds images/SPLIT, labels/SPLIT and classes.txt, a name per line",
    )
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="probabilities are averaged"
    )
    parser.add_argument("--flip", action="store_true", help="see each image also mirrored")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def trained_model(name: str) -> ddrnet.DDRNet:
    """Return the model with its weights, unless these leave its heads untrained."""
    if ddrnet.is_model(name) and ddrnet.get_weights(name).task != "segmentation":
        raise ValueError(
            f"{name} initialises a training, its segmentation heads are untrained: pass weights "
            "that were trained to segment (ddrnet list shows them)"
        )
    return ddrnet.create_model(name, pretrained=True)


def open_dataset(args: argparse.Namespace) -> ddrnet.data.SegmentationDataset:
    """Return whole images with their labels."""
    root: Path = args.data_path
    if args.dataset == "camvid":
        return ddrnet.data.CamVid(root, args.split)
    if args.dataset == "folder":
        names = (root / "classes.txt").read_text(encoding="utf-8").splitlines()
        folders = root / "images" / args.split, root / "labels" / args.split
        return ddrnet.data.SegmentationFolder(*folders, names)
    return ddrnet.data.Cityscapes(root, args.split)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate and print the scores."""
    dataset = open_dataset(args)
    scores = ddrnet.evaluate(
        trained_model(args.model),
        dataset,
        scales=args.scales,
        flip=args.flip,
        num_workers=args.workers,
        device=args.device,
    )
    for label, iou in zip(dataset.classes, scores.iou.tolist(), strict=True):
        print(f"{label.name:20}{iou:7.2%}")
    print(f"{'mean IoU':20}{scores.mean_iou:7.2%}")


if __name__ == "__main__":
    try:
        evaluate(arguments())
    except (ddrnet.DDRNetError, ValueError, OSError) as error:
        sys.exit(f"evaluate.py: {error}")
