"""`ddrnet train`: the settings of a training run as options."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import math
import os
import re
import shlex
import textwrap
import threading
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ddrnet.training.recipes import DEFAULT_RECIPE, RECIPES
from ddrnet.training.settings import GROUPS, Settings

logger = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train a model",
        usage="%(prog)s [--recipe NAME] [--OPTION VALUE ...] [--resume [PATH] | --continue] "
        "[--print-config]",
        description=textwrap.fill(
            "Train on Cityscapes, CamVid or your own folder, on one device or many: "
            "torchrun --nproc-per-node N -m ddrnet train ... The defaults are those of the recipe "
            f"{DEFAULT_RECIPE}; another --recipe has its own, and any option replaces them.",
            98,
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n\n".join(
            textwrap.fill(f"{name}: {recipe.about}", 98) for name, recipe in RECIPES.items()
        ),
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--recipe", choices=RECIPES, help="settings to start from, see below")
    start.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="continue from a checkpoint or a run's folder; without PATH, the folder of this "
        "command line. The settings are the run's own, replaced by the options given here",
    )
    parser.add_argument(
        "--continue",
        action="store_true",
        dest="go_on",
        help="resume the run in the folder of this command line if it has a checkpoint, else start "
        "it: for lines that start again by themselves, as with torchrun --max-restarts",
    )
    parser.add_argument("--print-config", action="store_true", help="show the settings and exit")
    hints, group = get_type_hints(Settings), parser
    for field in dataclasses.fields(Settings):
        if field.name in GROUPS:
            group = parser.add_argument_group(GROUPS[field.name])
        _add_setting(group, field, hints[field.name])
    parser.set_defaults(run=run)


def _add_setting(group: Any, field: dataclasses.Field[Any], hint: Any) -> None:
    flag = "--" + field.name.replace("_", "-")
    shown = field.metadata.get("shown") or _shown(field.default)
    help = f"{field.metadata['help']} (default: {shown})".replace("%", "%%")
    group.add_argument(flag, default=argparse.SUPPRESS, help=help, **_kind(field, hint))


def _kind(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    """Return how argparse reads a setting of this type."""
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint is int:
        least = field.metadata.get("least", 0)
        return {"type": functools.partial(_whole_number, least=least), "metavar": "N"}
    if hint == tuple[float, float]:
        return {"type": float, "nargs": 2, "metavar": ("FROM", "TO")}
    if tuple[int, int] in (hint, *get_args(hint)):
        return {"type": _size, "metavar": "HxW"}
    if hint is float or float in get_args(hint):
        most = field.metadata.get("most", math.inf)
        return {"type": functools.partial(_number, most=most), "metavar": "X"}
    return {"metavar": field.metadata.get("metavar", "NAME")}


def _shown(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return "yes" if default else "no" if default is False else "none"
    if isinstance(default, tuple):
        return ("x" if isinstance(default[0], int) else " ").join(map(str, default))
    return f"{default:.4g}" if isinstance(default, float) else str(default)


def _whole_number(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} up, got {text!r}")
    return int(text)


def _number(text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most or number == math.inf:
        wanted = "from 0 up" if most == math.inf else f"from 0 to {most}"
        raise argparse.ArgumentTypeError(f"expected a number {wanted}, got {text!r}")
    return number


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected N or HxW in pixels, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def run(args: argparse.Namespace) -> int:
    """Train, or print the settings."""
    if os.environ.get("RANK", "0") != "0":  # the first process speaks for all
        logging.getLogger("ddrnet").setLevel(logging.ERROR)
    given = given_settings(args)
    recipe = RECIPES[args.recipe or DEFAULT_RECIPE]
    settings = recipe.settings.changed(given)
    resumed = None if args.resume is None else Path(args.resume or settings.folder)
    if args.go_on:
        from ddrnet.training.run_checkpoints import has_checkpoint

        if resumed is not None:
            raise ValueError("--continue resumes the run of this command line: leave out --resume")
        resumed = Path(settings.folder) if has_checkpoint(Path(settings.folder)) else None
    if args.print_config:
        if resumed is None:
            logger.info(recipe.about)
        else:
            from ddrnet.training.run_checkpoints import load

            settings, _ = load(resumed, given)
        print(settings.to_json())
        return 0
    from ddrnet import training

    # An error of TensorBoard's thread comes back in the next call, which ends the training.
    threading.excepthook = lambda failed: logger.debug("a thread failed: %r", failed.exc_value)
    try:
        folder = training.train(settings) if resumed is None else training.resume(resumed, **given)
    finally:
        threading.excepthook = threading.__excepthook__
    if logger.isEnabledFor(logging.INFO):
        weights = folder / ("best" if (folder / "best").exists() else "last")
        print(f"predict with: ddrnet predict photos --model {shlex.quote(f'local-dir:{weights}')}")
    return 0


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were typed."""
    names = [field.name for field in dataclasses.fields(Settings)]
    return {name: getattr(args, name) for name in names if name in args}
