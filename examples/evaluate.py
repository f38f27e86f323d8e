"""Score pretrained or own weights on Cityscapes or CamVid: mean IoU and the IoU of each class.

    python examples/evaluate.py --model ddrnet_23 --data-path /data/cityscapes

`ddrnet evaluate` does the same with more options, and on several GPUs.
"""

from __future__ import annotations

import argparse
import sys

import torch

import ddrnet

DATASETS = {"cityscapes": ddrnet.data.Cityscapes, "camvid": ddrnet.data.CamVid}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ddrnet_23_slim", help="such as ddrnet_23.cityscapes")
    parser.add_argument("--checkpoint", help="weights to load instead of pretrained ones")
    parser.add_argument("--data-path", required=True, help="the folder of the data set")
    parser.add_argument("--dataset", choices=DATASETS, default="cityscapes")
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="probabilities are averaged"
    )
    parser.add_argument("--flip", action="store_true", help="see each image also mirrored")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def trained_model(name: str, checkpoint: str | None) -> ddrnet.DDRNet:
    """Return the model with its weights, unless these leave its heads untrained."""
    if checkpoint is not None:
        return ddrnet.create_model(name, checkpoint_path=checkpoint)
    if ddrnet.is_model(name) and ddrnet.get_weights(name).task != "segmentation":
        raise ValueError(
            f"{name} initialises a training, its segmentation heads are untrained: pass weights "
            "that were trained to segment (ddrnet list shows them), or --checkpoint FILE"
        )
    return ddrnet.create_model(name, pretrained=True)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate and print the scores."""
    dataset = DATASETS[args.dataset](args.data_path, args.split)
    scores = ddrnet.evaluate(
        trained_model(args.model, args.checkpoint),
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
