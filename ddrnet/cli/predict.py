"""`ddrnet predict`: writes label maps and overlays of image files."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.cli.models import add_model_arguments, caveat_of, trained_model
from ddrnet.labels import ClassLabel

if TYPE_CHECKING:
    from ddrnet.cli.results import Results
    from ddrnet.network import DDRNet

_GAP = "   "


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "predict",
        help="segment images",
        description="Segment image files (PNG, JPEG, WebP, BMP, TIFF; 8 and 16 bit). Each image "
        "gets NAME.labels.png with the class index of every pixel and NAME.overlay.png with the "
        "classes over the image. The share of every class is printed. Unreadable images are "
        "reported and skipped.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="an image, or a folder; subfolders are searched too",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--out",
        default="predictions",
        type=Path,
        metavar="DIR",
        help="folder for the results (default: %(default)s)",
    )
    parser.add_argument(
        "--device", help="such as cpu, cuda:1 or mps (default: the accelerator, else the CPU)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment every image; return 1 if one failed."""
    from ddrnet.cli.results import name_results
    from ddrnet.predictor.pipeline import check_model, pick_device
    from ddrnet.predictor.sources import find_images

    out = args.out.expanduser()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; the results need a folder")
    images = find_images(args.paths)
    results = name_results(images, out)
    device = pick_device(args.device)
    model = trained_model(args.model, args.checkpoint)
    check_model(model)
    note = caveat_of(args.model, args.checkpoint)
    return _predict_all(model.to(device).eval(), images, results, note)


def _predict_all(
    model: DDRNet, images: Sequence[Path], results: Sequence[Results], note: str
) -> int:
    from torch import OutOfMemoryError
    from tqdm import tqdm

    from ddrnet.cli.results import write_results
    from ddrnet.data.decoding import decode_image
    from ddrnet.predictor.pipeline import segment
    from ddrnet.visualize import class_shares

    exit_code = 0
    pairs = list(zip(images, results, strict=True))
    for path, paths in tqdm(pairs, unit="image", disable=None if len(pairs) > 1 else True):
        try:
            image = decode_image(path)
            labels = segment(model, image)
        except (ValueError, OSError, OutOfMemoryError) as error:
            tqdm.write(f"ddrnet: error: {_naming(path, error)}", file=sys.stderr)
            exit_code = 1
            continue
        write_results(paths, image, labels, model.classes, note)
        table = shares_table(class_shares(labels, model.classes).tolist(), model.classes)
        tqdm.write(f"{path} -> {paths.overlay}\n{table}")
    return exit_code


def shares_table(shares: Sequence[float], classes: Sequence[ClassLabel]) -> str:
    """Return a table of the share of every class, as wide as the terminal."""
    from ddrnet.visualize import percent

    names = max(len(label.name) for label in classes)
    cells = [
        f"{label.name:<{names}}  {percent(share):>6}"
        for label, share in zip(classes, shares, strict=True)
    ]
    columns = max(1, (shutil.get_terminal_size().columns - 1) // (len(cells[0]) + len(_GAP)))
    rows = math.ceil(len(cells) / columns)
    return "\n".join(_GAP + _GAP.join(cells[row::rows]) for row in range(rows))


def _naming(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if str(path) in text else f"{path}: {text}"
