"""`ddrnet data`: check data sets, and make them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = subparsers.add_parser("data", help="check a data set")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_check(commands)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="read a whole data set and report everything wrong with it",
        description="Read every image and label of a Cityscapes or CamVid folder: missing and "
        "broken files, images and labels of different sizes, label values of no class.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder of the data set")
    parser.set_defaults(run=run_check)


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
