"""`ddrnet benchmark`: latency and memory from file to file, beside the plain pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.cli.models import OFFLINE_MODEL
from ddrnet.cli.predict import height_and_width
from ddrnet.cli.table import aligned
from ddrnet.files import write_atomically

if TYPE_CHECKING:
    from ddrnet.benchmark.conditions import Conditions
    from ddrnet.benchmark.measuring import Plan, Row


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure latency and memory",
        description="Measure the network alone, the labels (upsampling and argmax), and the way "
        "from an image file to a label file. The plain pipeline of most code (Pillow, torchvision, "
        "float32, interpolation, argmax) takes turns with the predictor in the same run.",
    )
    _add_subjects(parser)
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["float32"],
        choices=("float32", "bfloat16", "float16"),
        help="of weights and activations (default: float32)",
    )
    parser.add_argument("--compile", action="store_true", help="measure compiled networks too")
    parser.add_argument(
        "--threads",
        nargs="+",
        type=int,
        metavar="N",
        help="threads of torch on the CPU (default: as torch chooses)",
    )
    parser.add_argument(
        "--device", help="such as cpu, cuda:1 or mps (default: the accelerator, else the CPU)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=10,
        metavar="N",
        help="calls of each step (default: %(default)s)",
    )
    _add_outputs(parser)
    parser.set_defaults(run=run)


def _add_subjects(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="names, folders of saved models, or checkpoint files "
        f"(default without --random-weights: {OFFLINE_MODEL})",
    )
    parser.add_argument(
        "--random-weights",
        nargs="+",
        default=[],
        metavar="NAME",
        help="measure these models too, without trained weights; their labels mean nothing",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=height_and_width,
        metavar="HxW",
        help="sizes of the picture (default: 1024x2048, or the size of --image)",
    )
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="the picture (default: a rendered street)"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the measurements go."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="draw published mIoU over latency in this file; needs the extra plot",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, and show what was measured, also after an error."""
    from ddrnet.benchmark.conditions import Conditions
    from ddrnet.benchmark.measuring import measure

    plan = _plan(args)
    if args.plot is not None:
        from ddrnet.benchmark.latency_plot import check_matplotlib

        check_matplotlib()
    conditions = Conditions.now(plan.device)
    rows: list[Row] = []
    try:
        for row in measure(plan):
            rows.append(row)
            _write(args, rows, conditions)
    finally:
        if rows:
            _show(args, rows, conditions)
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    """Return what to measure.

    Raises:
        ValueError: If a number is out of range, or the device cannot be used.
        OSError: If the folder of a file to write does not exist.
    """
    import torch

    from ddrnet.benchmark.measuring import Plan
    from ddrnet.benchmark.pipelines import BACKENDS, Way
    from ddrnet.benchmark.subject import Subject
    from ddrnet.data.decoding import decode_image
    from ddrnet.predictor.engine import pick_device

    threads = args.threads or [torch.get_num_threads()]
    if args.repeats < 1 or min(threads) < 1:
        raise ValueError("--repeats and --threads are 1 or more")
    for path in filter(None, (args.json, args.plot)):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    models = args.models or ([] if args.random_weights else [OFFLINE_MODEL])
    sizes = args.sizes or [(1024, 2048)]
    if args.image is not None and not args.sizes:
        sizes = [tuple(decode_image(args.image).shape[1:])]
    return Plan(
        subjects=[Subject(name) for name in dict.fromkeys(models)]
        + [Subject(name, random_weights=True) for name in dict.fromkeys(args.random_weights)],
        sizes=list(dict.fromkeys(sizes)),
        ways=[
            Way(backend, precision, compiled)
            for backend in BACKENDS
            for precision in dict.fromkeys(args.precision)
            for compiled in (False, True)[: 1 + args.compile]
        ],
        threads=list(dict.fromkeys(threads)),
        device=pick_device(args.device),
        repeats=args.repeats,
        image=args.image,
    )


def _write(args: argparse.Namespace, rows: Sequence[Row], conditions: Conditions) -> None:
    """Write the files with all rows that exist by now."""
    from ddrnet.benchmark.report import to_json

    if args.json is not None:
        write_atomically(args.json, to_json(rows, conditions).encode())


def _show(args: argparse.Namespace, rows: Sequence[Row], conditions: Conditions) -> None:
    from ddrnet.benchmark.report import HEADER, NUMBERS, cells, markdown, notes

    if args.markdown:
        print(
            "\n".join(f"* {note}" for note in notes(rows, conditions)), markdown(rows), sep="\n\n"
        )
    else:
        print(*notes(rows, conditions), sep="\n")
        print(aligned(HEADER, list(map(cells, rows)), right=NUMBERS))
    if args.plot is not None:
        from ddrnet.benchmark.latency_plot import draw_latency

        draw_latency(args.plot, rows)
