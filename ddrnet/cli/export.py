"""`ddrnet export`: writes a model as one file for other runtimes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.cli.models import trained_model
from ddrnet.cli.table import percent

if TYPE_CHECKING:
    from ddrnet.data import FileDataset
    from ddrnet.network import DDRNet


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "export",
        help="write a model as an ONNX or torch.export file",
        usage="%(prog)s MODEL OUT.onnx|OUT.pt2 [options]\n"
        "       %(prog)s --verify FILE.onnx [MODEL]",
        description="Write a model as one file: uint8 images (N, H, W, C) of any size in, labels "
        "or logits out, normalisation and upsampling inside. The file is compared with the model "
        "before it appears.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a name such as ddrnet_23 or ddrnet_23_nano.camvid, hf-hub:OWNER/REPO, the folder of "
        "a saved model, or a checkpoint file",
    )
    parser.add_argument(
        "out", nargs="?", type=Path, metavar="OUT", help="the file to write: .onnx or .pt2"
    )
    _add_contents(parser)
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="FILE",
        help="compare an exported ONNX file with MODEL, or with the weights that it names",
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def _add_contents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        choices=("labels", "logits", "full"),
        default="labels",
        help="labels of every pixel, logits at stride 8, or logits of every pixel (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="fixed size of the images (default: any)"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="fixed number of images per call (default: any)"
    )
    parser.add_argument(
        "--half", action="store_true", help="16-bit weights and activations, for accelerators"
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="smaller ONNX file with the same results: store exact weights in 16 bits",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="8-bit weights and activations in an ONNX file, for processors; needs --calibration",
    )
    parser.add_argument(
        "--calibration",
        metavar="DIR",
        help="images like those that the 8-bit file will see; of a data set with labels, the train "
        "split calibrates and mean IoU is printed for val",
    )
    parser.add_argument(
        "--license", metavar="ID", help="SPDX identifier of own weights, for the metadata"
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HxW in pixels, got {text!r}")
    return int(height), int(width)


def run(args: argparse.Namespace) -> int:
    """Export, or compare an old file with its model."""
    if args.verify is not None:
        if args.out is not None:
            args.usage_error("--verify FILE takes no OUT")
        from ddrnet.exporting.verification import verify

        verify(args.verify, None if args.model is None else _loaded(args.model))
        print(f"{args.verify} computes what its model computes")
        return 0
    if args.model is None or args.out is None:
        args.usage_error("MODEL and OUT are needed")
    if args.out.exists() and not args.force:
        raise FileExistsError(f"{args.out} exists; --force overwrites it")
    from ddrnet.exporting.exporter import checked_target, export

    checked_target(args.out)  # a wrong path fetches no weights
    if args.int8 != (args.calibration is not None):
        args.usage_error("--int8 and --calibration DIR belong together")
    model = _loaded(args.model)
    scored, images = (None, None) if args.calibration is None else _calibration(args, model)
    export(
        model,
        args.out,
        output=args.output,
        size=args.size,
        batch=args.batch,
        half=args.half,
        compact=args.compact,
        int8=args.int8,
        calibration=images,
        license=args.license,
    )
    print(f"{args.out}: {args.output}, {args.out.stat().st_size / 2**20:.1f} MiB")
    if scored is not None:
        _print_scores(args.out, model, scored)
    return 0


def _calibration(args: argparse.Namespace, model: DDRNet) -> tuple[FileDataset | None, Any]:
    """Return the labelled images to score, if there are any, and those to calibrate with.

    Raises:
        DatasetError: If a data set is incomplete.
    """
    from ddrnet.data import open_dataset
    from ddrnet.data.opening import recognise
    from ddrnet.errors import DatasetError

    try:
        kind = recognise(args.calibration)
    except DatasetError:
        return None, args.calibration  # images alone
    classes = [replace(row, id=-1) for row in model.classes]  # of own data without classes.txt
    scored = open_dataset(args.calibration, kind, class_names=classes)
    seen = scored
    if scored.split is not None:
        seen = open_dataset(args.calibration, kind, "train", class_names=classes)
    return scored, [sample.image for sample in seen.samples]


def _print_scores(path: Path, model: DDRNet, dataset: FileDataset) -> None:
    from ddrnet.evaluation import evaluate
    from ddrnet.predictor.predictor import Predictor

    file = Predictor(path)
    floats = Predictor(model, device="cpu", size=file.size)
    ious = [percent(evaluate(predictor, dataset).mean_iou) for predictor in (file, floats)]
    part = f"split {dataset.split}" if dataset.split else "all"
    print(f"mean IoU {ious[0]} in 8 bits, {ious[1]} in float32; {part}, {len(dataset)} images")


def _loaded(model: str) -> DDRNet:
    is_file = Path(model).expanduser().is_file()
    return trained_model(None, model) if is_file else trained_model(model, None)
