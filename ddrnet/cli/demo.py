"""`ddrnet demo`: render a street, segment it with the shipped weights, and show the result."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.cli.table import aligned
from ddrnet.files import png_bytes, write_atomically
from ddrnet.registry import get_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from ddrnet.labels import ClassLabel

MODEL = "ddrnet_23_nano.synthetic"
PICTURE = "ddrnet_demo.png"

_SEED = 2101_06085
"""Base seed of the held-out streets."""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="render a street and segment it, offline",
        description="Render an imaginary street, segment it with weights that ship with ddrnet, "
        f"write image, labels and overlay side by side to {PICTURE}, and print the IoU of each "
        "class in the scene.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for the picture (default: the current one)",
    )
    parser.add_argument(
        "--street",
        type=int,
        default=0,
        metavar="N",
        help="number of the street (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render and segment a street, write the picture, print the scores."""
    from ddrnet.data import SyntheticStreets
    from ddrnet.predictor.predictor import Predictor

    row = get_weights(MODEL)
    streets = SyntheticStreets(1, row.metrics[0].resolution, seed=_SEED + args.street)
    image, truth = streets[0]
    result = Predictor(MODEL, device="cpu")(image)
    labels, classes = result.labels, result.classes
    path = args.out.expanduser() / PICTURE
    content = png_bytes(picture(image, labels, classes, row.caveat), comment=row.caveat)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    print(scores_of_scene(labels, truth, classes))
    print(f"{path}: image, labels, overlay")
    return 0


def picture(
    image: Tensor, labels: NDArray[np.uint8], classes: tuple[ClassLabel, ...], note: str
) -> Image.Image:
    """Return image, labels and overlay side by side, above a legend."""
    from PIL import Image

    from ddrnet.visualize import overlay, palette_image, side_by_side, with_legend

    plain = Image.fromarray(image.permute(1, 2, 0).numpy())
    colors = palette_image(labels, classes).convert("RGB")
    row = side_by_side([plain, colors, overlay(image, labels, classes)])
    return with_legend(row, labels, classes, note=note)


def scores_of_scene(
    labels: NDArray[np.uint8], truth: Tensor, classes: tuple[ClassLabel, ...]
) -> str:
    """Return the IoU of each class in the scene, and their mean, as text."""
    import torch

    from ddrnet.metrics import SegmentationMetrics

    metrics = SegmentationMetrics(len(classes))
    metrics.update(torch.from_numpy(labels)[None], truth[None])
    scores = metrics.compute()
    shown = (scores.confusion.sum(1) > 0).nonzero().flatten().tolist()
    rows = [(classes[index].name, f"{scores.iou[index]:.1%}") for index in shown]
    mean = f"mean IoU {scores.iou[shown].mean():.1%} of {len(shown)} classes in the scene"
    return f"{aligned(('class', 'IoU'), rows, right=('IoU',))}\n{mean}"
