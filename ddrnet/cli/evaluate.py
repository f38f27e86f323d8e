"""`ddrnet evaluate`: scores a model on a data set."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.cli.data import add_fraction_arguments
from ddrnet.cli.models import (
    DEFAULT_MODEL,
    add_backend_arguments,
    add_model_arguments,
    backend_options,
    caveat_of,
    model_or_file,
    runs_elsewhere,
    trained_model,
    weights_of,
)
from ddrnet.cli.table import aligned, json_number, percent
from ddrnet.labels import ClassLabel

if TYPE_CHECKING:
    import torch

    from ddrnet.data import FileDataset
    from ddrnet.network import DDRNet
    from ddrnet.outputs import SegmentationScores
    from ddrnet.predictor.predictor import Predictor

_DTYPES = ("bfloat16", "float16")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a model on a data set",
        description="Score a model on whole images at full resolution: mean IoU and the IoU of "
        "every class, from one confusion matrix over all images. On several GPUs or processes: "
        "torchrun --nproc-per-node N -m ddrnet evaluate ...",
    )
    add_model_arguments(parser)
    _add_data_arguments(parser)
    add_backend_arguments(parser)
    _add_view_arguments(parser)
    _add_output_arguments(parser)
    parser.set_defaults(run=run)


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-path",
        type=Path,
        required=True,
        metavar="ROOT",
        help="the folder of Cityscapes, CamVid or own data; own data has images, labels and "
        "classes.txt (layout: ddrnet data check --help). Without classes.txt, label values are "
        "the numbers of the model's classes",
    )
    parser.add_argument(
        "--dataset",
        choices=("cityscapes", "camvid", "folder"),
        help="kind of data in ROOT (default: recognised by the folder's entries)",
    )
    parser.add_argument(
        "--split",
        help="such as val, train or test (default: val; all images of own data without splits)",
    )
    add_fraction_arguments(parser)
    parser.add_argument(
        "--by-index",
        action="store_true",
        help="match the classes of model and data by number, not by name",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="loader processes (default: %(default)s)",
    )


def _add_view_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="FACTOR",
        help="factors to resize each image by; probabilities are averaged (default: 1)",
    )
    parser.add_argument("--flip", action="store_true", help="also predict each image mirrored")
    parser.add_argument(
        "--device", help="such as cpu, cuda:1 or mps (default: the accelerator, else the CPU)"
    )
    parser.add_argument("--amp", choices=_DTYPES, help="mixed precision (default: none)")


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--save-labels",
        type=Path,
        metavar="DIR",
        help="write every prediction as a label file with the values and names of the data set",
    )
    parser.add_argument(
        "--submission",
        type=Path,
        metavar="ZIP",
        help="write a submission for the Cityscapes benchmark server",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the confusion matrix")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the scores; among several processes, the first prints."""
    from ddrnet.cli.processes import joined
    from ddrnet.data import open_dataset
    from ddrnet.data.opening import recognise
    from ddrnet.evaluation import evaluate

    kind = args.dataset or recognise(args.data_path)  # a wrong path fetches no weights
    with joined(args.device) as (device, first):
        model, options = _model_and_options(args, device)
        # Own data without classes.txt has the classes of the model.
        classes = [replace(row, id=-1) for row in model.classes]
        dataset = open_dataset(
            args.data_path,
            kind,
            args.split,
            class_names=classes,
            val_fraction=args.val_fraction,
            seed=args.seed,
        )
        scores = evaluate(
            model,
            dataset,
            **options,
            num_workers=args.workers,
            by_index=args.by_index,
            save_labels=args.save_labels,
            submission=args.submission,
        )
        if first:
            _print(args, scores, dataset, weights_of(model))
    return 0


def _model_and_options(
    args: argparse.Namespace, device: torch.device
) -> tuple[DDRNet | Predictor, dict[str, Any]]:
    """Return a model, or a predictor for other backends, with how `evaluate` is to run it."""
    import torch

    from ddrnet.predictor.predictor import Predictor

    if not runs_elsewhere(args):
        amp_dtype = args.amp and getattr(torch, args.amp)
        options = {"scales": args.scales, "flip": args.flip, "amp_dtype": amp_dtype}
        return trained_model(args.model, args.checkpoint), {**options, "device": device}
    if args.amp is not None or (args.scales != [1.0] and not args.flip):
        raise ValueError(
            "only torch has --amp, and --scales without --flip: other backends compute as the "
            "file was exported, and see each scale mirrored too"
        )
    tta = args.scales if args.flip else None
    given = {**backend_options(args), "device": args.device}
    return Predictor(model_or_file(args), **given, tta=tta), {}


def _print(
    args: argparse.Namespace, scores: SegmentationScores, dataset: FileDataset, weights: str
) -> None:
    if args.json:
        print(json.dumps(_fields(args, scores, dataset, weights), indent=2, allow_nan=False))
        return
    scored = f"{f'split {dataset.split}' if dataset.split else 'all'}, {len(dataset)} images"
    if math.isnan(scores.mean_iou):
        print(f"{scored}: no labels, nothing to score")
        return
    categories = [iou for iou in scores.category_iou.values() if not math.isnan(iou)]
    summary = [
        f"mean IoU {percent(scores.mean_iou)}",
        *([f"of categories {percent(sum(categories) / len(categories))}"] if categories else []),
        f"pixel accuracy {percent(scores.pixel_accuracy)}",
    ]
    print(scores_table(scores, dataset.classes))
    print(f"{', '.join(summary)}; {scored}")


def _fields(
    args: argparse.Namespace, scores: SegmentationScores, dataset: FileDataset, weights: str
) -> dict[str, Any]:
    """Return the scores as fractions; None where a score has no pixels."""
    names = [row.name for row in dataset.classes]
    return {
        "model": args.model or (None if args.checkpoint else DEFAULT_MODEL),
        "checkpoint": args.checkpoint,
        "data_path": str(args.data_path),
        "split": dataset.split,
        "images": len(dataset),
        "scales": args.scales,
        "flip": args.flip,
        "backend": args.backend or ("onnxruntime" if runs_elsewhere(args) else "torch"),
        "note": caveat_of(weights or args.model, args.checkpoint) or None,
        "mean_iou": json_number(scores.mean_iou),
        "pixel_accuracy": json_number(scores.pixel_accuracy),
        "frequency_weighted_iou": json_number(scores.frequency_weighted_iou),
        "iou": dict(zip(names, map(json_number, scores.iou.tolist()), strict=True)),
        "category_iou": {name: json_number(iou) for name, iou in scores.category_iou.items()},
        "confusion": scores.confusion.tolist(),
    }


def scores_table(scores: SegmentationScores, classes: tuple[ClassLabel, ...]) -> str:
    """Return a table of the IoU of every class and its share of the pixels."""
    present = (scores.confusion.sum(1) + scores.outside).double()
    shares = (present / present.sum()).tolist()
    rows = [
        (row.name, percent(iou), percent(share))
        for row, iou, share in zip(classes, scores.iou.tolist(), shares, strict=True)
    ]
    return aligned(("class", "IoU", "pixels"), rows, right=("IoU", "pixels"))
