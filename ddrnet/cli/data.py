"""`ddrnet data`: check, measure and render data sets."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ddrnet.cli.table import aligned, json_number, percent
from ddrnet.files import png_bytes, write_atomically


def add_parser(subparsers: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = subparsers.add_parser("data", help="check, measure or render a data set")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_check(commands)
    _add_stats(commands)
    _add_synthesize(commands)


_LAYOUT = """\
own data is a folder ROOT with:
  ROOT/classes.txt               a class per line: NAME [VALUE] [R G B] [ignore]
  ROOT/images/NAME.jpg           PNG, JPEG, WebP, BMP or TIFF; subfolders allowed
  ROOT/labels/NAME.png           (or masks/, annotations/) each pixel is the VALUE
                                 of its class or the colour R G B; 255 is ignored
splits of own data are either of:
  ROOT/images/train, ROOT/labels/train, ROOT/images/val, ROOT/labels/val
  ROOT/train.txt, ROOT/val.txt   the name of an image per line
VALUE is by default the position of the line, counted from 0. "ignore" at the end
of a line excludes its pixels from training and scores."""


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder of the data set")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="read a whole data set and report every problem",
        description="Read every image and label file of Cityscapes, CamVid or own data. Report\n"
        "missing and broken files, images and labels of different sizes, and label\n"
        "values that belong to no class. The exit code is 1 if there is a problem.",
        epilog=_LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_root(parser)
    parser.set_defaults(run=run_check)


def _add_stats(commands: Any) -> None:
    parser = commands.add_parser(
        "stats",
        help="count images, sizes and the share of each class",
        description="Count the images and their sizes, and measure the share of each class in the\n"
        "labelled pixels of a split.",
        epilog=_LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_root(parser)
    parser.add_argument(
        "--split", help="such as val (default: train, or all images without splits)"
    )
    add_fraction_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PNG", help="draw the shares as bars in this file"
    )
    parser.set_defaults(run=run_stats)


def _add_synthesize(commands: Any) -> None:
    parser = commands.add_parser(
        "synthesize",
        help="render street scenes with exact labels as a Cityscapes folder",
        description="Render synthetic streets into the folders and files of Cityscapes: images, "
        "label ids, instance ids, colours and polygons. Every fifth street belongs to val, the "
        "others to train. A second run writes only the missing files.",
    )
    parser.add_argument("root", type=Path, metavar="OUT", help="a new folder, or one to continue")
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="number of streets (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        default=(1024, 2048),
        metavar="HxW",
        help="height and width in pixels (default: 1024x2048)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="chooses the streets (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="rendering processes (default: one per CPU core)",
    )
    parser.set_defaults(run=run_synthesize)


def add_fraction_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--val-fraction` and `--seed`, which draw the same splits as `ddrnet train`."""
    parser.add_argument(
        "--val-fraction",
        type=float,
        metavar="X",
        help="draw the splits train and val from own data without splits: the share of val, 0-1",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="chooses the drawn splits (default: %(default)s)"
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 1024x2048, got {text!r}")
    return int(height), int(width)


def run_synthesize(args: argparse.Namespace) -> int:
    """Write the streets and say how to read them."""
    from ddrnet.data import write_streets

    write_streets(args.root, args.images, size=args.size, seed=args.seed, workers=args.workers)
    print(f"{args.root}: {args.images} streets, read by ddrnet.data.Cityscapes({str(args.root)!r})")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print a line per problem and a line per split; return 1 if there is a problem."""
    from ddrnet.data.opening import scan_every_split
    from ddrnet.data.samples import unreadable

    splits: dict[str, dict[str, Any]] = {}
    for split, scan in scan_every_split(args.root).items():
        problems = [*scan.problems, *unreadable(scan.samples)]
        splits[split] = {"images": len(scan.samples), "problems": problems}
        if not args.json:
            for problem in problems:
                print(problem)
            print(f"{split}: {len(scan.samples)} images with labels, {len(problems)} problems")
    if args.json:
        print(json.dumps({"root": str(args.root), "splits": splits}, indent=2))
    return int(any(split["problems"] for split in splits.values()))


def _measured_split(args: argparse.Namespace) -> str | None:
    """Return the split to measure: by default the one that a training reads."""
    from ddrnet.data.opening import recognise
    from ddrnet.data.own_data import OwnData

    if args.split is not None:
        return str(args.split)
    if recognise(args.root) != "folder" or args.val_fraction is not None:
        return "train"
    own = OwnData(args.root)
    return "train" if "train" in own.splits else own.default_split()


def run_stats(args: argparse.Namespace) -> int:
    """Print the sizes and shares, and draw the shares."""
    from ddrnet.data.opening import open_dataset
    from ddrnet.data.statistics import draw_shares, measure

    dataset = open_dataset(
        args.root, split=_measured_split(args), val_fraction=args.val_fraction, seed=args.seed
    )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    found = measure(dataset)
    split = dataset.split or "all"
    names = [row.name for row in dataset.classes]
    rows = list(zip(names, found.shares, found.images_with, strict=True))
    if args.json:
        fields = {
            "root": str(args.root),
            "split": split,
            "images": found.images,
            "sizes": [{"height": h, "width": w, "images": n} for (h, w), n in found.sizes.items()],
            "classes": [
                {"name": name, "share": json_number(share), "images": images}
                for name, share, images in rows
            ],
            "ignored": json_number(found.ignored_share),
        }
        print(json.dumps(fields, indent=2, allow_nan=False))
    else:
        cells = [(name, percent(share), str(images)) for name, share, images in rows]
        print(aligned(("class", "pixels", "images"), cells, right=("pixels", "images")))
        sizes = [f"{h} x {w} ({n})" for (h, w), n in found.sizes.items()]
        more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
        print(
            f"{split}: {found.images} images, {percent(found.ignored_share)} of the pixels ignored"
        )
        print(f"sizes (height x width): {', '.join(sizes[:5])}{more}")
    if args.out:
        write_atomically(args.out, png_bytes(draw_shares(dataset, found)))
    return 0
