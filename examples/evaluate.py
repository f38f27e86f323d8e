"""Score a model on a data set: the IoU of each class and their mean.

    python examples/evaluate.py --model ddrnet_23 --data-path /data/cityscapes

`ddrnet evaluate` does the same with more options, other checkpoints and on several GPUs.
"""

from __future__ import annotations

import argparse

import torch

import ddrnet


def main() -> None:
    """Evaluate and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ddrnet_23_slim", help="NAME, NAME.TAG, local-dir:PATH")
    parser.add_argument("--data-path", required=True, help="the data set's folder")
    parser.add_argument("--split", help="default: val, or all of a folder without splits")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], help="of the images")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if ddrnet.is_model(args.model) and ddrnet.get_weights(args.model).task != "segmentation":
        parser.error(f"the segmentation heads of {args.model} are untrained")

    model = ddrnet.create_model(args.model, pretrained=True).to(args.device)
    dataset = ddrnet.data.open_dataset(args.data_path, split=args.split)
    scores = ddrnet.evaluate(model, dataset, scales=args.scales, flip=args.flip, num_workers=2)
    print(dataset)
    for label, iou in zip(dataset.classes, scores.iou.tolist(), strict=True):
        print(f"{label.name:20}{iou:7.2%}")
    print(f"{'mean IoU':20}{scores.mean_iou:7.2%}")


if __name__ == "__main__":
    main()
