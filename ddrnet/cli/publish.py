"""`ddrnet publish`: upload converted checkpoints to the Hugging Face Hub."""

from __future__ import annotations

import argparse
import hashlib
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "publish",
        help="convert registered checkpoints and upload them to the Hub",
        description="Fetch registered checkpoints, convert them to safetensors, and upload each to "
        "ORG/MODEL.TAG. DDRNET_HUB_ORG=ORG then finds them. The command prints the source that "
        "belongs first in the weights row.",
    )
    parser.add_argument(
        "names", nargs="+", metavar="MODEL.TAG", help="names that ddrnet list prints"
    )
    parser.add_argument("--org", required=True, help="user or organisation on the Hub")
    parser.add_argument("--dry-run", action="store_true", help="write the folders, upload nothing")
    parser.add_argument(
        "--out",
        default="published",
        metavar="DIR",
        help="folder for --dry-run (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-dir", metavar="DIR", help="cache folder, instead of the default ones"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Upload the mirrors, or write their folders."""
    from ddrnet import publishing
    from ddrnet.pretrained.saved_model import WEIGHTS_NAME
    from ddrnet.registry import get_weights

    rows = [get_weights(name) for name in args.names]
    for row in rows:
        files = publishing.mirror_files(row, publishing.mirror_repo(row, args.org), args.cache_dir)
        if args.dry_run:
            folder = publishing.write_mirror(row, files, args.out)
            print(f"{folder}: sha256 {hashlib.sha256(files[WEIGHTS_NAME]).hexdigest()}")
        else:
            source = publishing.upload_mirror(row, files, args.org)
            print(
                f'{row.name}: HubFile("{source.repo}", "{source.revision}", '
                f'sha256="{source.sha256}", size={source.size})'
            )
    return 0
