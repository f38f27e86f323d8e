"""`ddrnet data`: check data sets, and make them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = subparsers.add_parser("data", help="check a data set, or make one")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_check(commands)
    _add_synthesize(commands)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="read a whole data set and report everything wrong with it",
        description="Read every image and label of a Cityscapes or CamVid folder: missing and "
        "broken files, images and labels of different sizes, label values of no class.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder of the data set")
    parser.set_defaults(run=run_check)


def _add_synthesize(commands: Any) -> None:
    parser = commands.add_parser(
        "synthesize",
        help="render street scenes with exact labels, as a Cityscapes folder",
        description="Render synthetic streets into the folders and files of Cityscapes: images, "
        "label ids, instance ids, colours and polygons, four fifths in train and one in val. "
        "Run again, it writes what is missing.",
    )
    parser.add_argument("root", type=Path, metavar="OUT", help="a new folder, or one to go on with")
    parser.add_argument(
        "--images", type=int, default=100, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=_size,
        default=(1024, 2048),
        metavar="HxW",
        help="height and width in pixels (default: 1024x2048)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other streets")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes that render (default: one per CPU core)",
    )
    parser.set_defaults(run=run_synthesize)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 1024x2048, got {text!r}")
    return int(height), int(width)


def run_synthesize(args: argparse.Namespace) -> int:
    """Write the tree and say how to read it."""
    from ddrnet.data import write_streets

    write_streets(args.root, args.images, size=args.size, seed=args.seed, workers=args.workers)
    print(f"{args.root}: {args.images} streets, read by ddrnet.data.Cityscapes({str(args.root)!r})")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print a line per problem and one per split; 1 if there is a problem."""
    from ddrnet.data.checking import scan_tree, unreadable

    found = 0
    for split, scan in scan_tree(args.root).items():
        problems = list(scan.problems)
        problems += unreadable(scan.samples)
        for problem in problems:
            print(problem)
        print(f"{split}: {len(scan.samples)} images with labels, {len(problems)} problems")
        found += len(problems)
    return 1 if found else 0
