"""`ddrnet convert`: rename the tensors of a checkpoint from one family to another."""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ddrnet.registry import find_model
from ddrnet.weights.row import Family

if TYPE_CHECKING:
    from torch import Tensor

    from ddrnet.checkpoints import Contents

SAFETENSORS = ".safetensors"
TORCH = (".pth", ".pt", ".ckpt")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "convert",
        help="rename the tensors of a checkpoint for other code, or for this library",
        description="Read a checkpoint of any family and write its network under the names of "
        "another family, as a plain state dict without optimizer or other training state.",
    )
    parser.add_argument("input", type=Path, metavar="IN", help="a checkpoint of any family")
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUT",
        help=f"the file to write; its suffix sets the format: {SAFETENSORS}, {', '.join(TORCH)}",
    )
    parser.add_argument(
        "--to",
        choices=get_args(Family),
        default="ddrnet",
        help="family of the new tensor names (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert one file; on an error, OUT is unchanged."""
    from ddrnet.checkpoints import describe, detect_family, from_ddrnet, read_state_dict, to_ddrnet
    from ddrnet.files import write_atomically

    _check_output(args.output, args.force)
    state = read_state_dict(args.input)
    converted = from_ddrnet(to_ddrnet(state), args.to)
    write_atomically(args.output, _serialize(converted, args.output.suffix.lower()))
    print(
        f"{args.output}: {_summary(describe(to_ddrnet(converted)))}, {len(converted)} tensors, "
        f"from {detect_family(state)} to {args.to} names"
    )
    return 0


def _summary(contents: Contents) -> str:
    size = "own size" if contents.config is None else find_model(contents.config) or "own size"
    if contents.is_backbone:
        return f"{size}, {'classifier' if contents.has_classifier else 'backbone only'}"
    aux_head = ", auxiliary head" if contents.has_aux_head else ""
    return f"{size}, {contents.num_classes} classes{aux_head}"


def _check_output(output: Path, force: bool) -> None:
    if output.suffix.lower() not in (SAFETENSORS, *TORCH):
        raise ValueError(
            f"the suffix of {output} names no format: use {SAFETENSORS} or {', '.join(TORCH)}"
        )
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.parent} to write {output.name} to")
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder")
    if output.exists() and not force:
        raise FileExistsError(f"{output} exists; --force overwrites it")


def _serialize(state: Mapping[str, Tensor], suffix: str) -> bytes:
    """Return the content of the file; equal tensors give equal bytes."""
    if suffix == SAFETENSORS:
        from ddrnet.pretrained.tensors import serialize

        return serialize(state)
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()
