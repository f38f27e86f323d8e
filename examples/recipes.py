"""What a training run can be told, and the published recipes as data."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

# fmt: off
CITYSCAPES_WEIGHTS = (
    0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
    0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)
# fmt: on
"""Source: the class weights in the configuration files of HRNet and of all DDRNet code since."""


def _option(default: Any, help: str, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; each field is an argument of the same name."""

    model: str = _option("ddrnet_23", "the size, such as ddrnet_23_slim")
    init: str = _option(
        "auto",
        "what to start from: none, a tag such as in1k or cityscapes, or the path of a checkpoint, "
        "whose classes may be others; auto is in1k where there is one",
    )
    data: Literal["cityscapes", "camvid", "folder", "synthetic"] = _option(
        "cityscapes", "what to train on"
    )
    data_path: str | None = _option(None, "the data set's folder", metavar="ROOT")
    cache_dir: str | None = _option(None, "a folder that keeps decoded samples", metavar="DIR")
    train_split: str = _option("train", "what is trained on; trainval for a test server")
    val_split: str = _option("val", "what is validated on")
    synthetic_images: int = _option(400, "rendered streets to train on", least=1)
    synthetic_size: tuple[int, int] = _option((256, 512), "of a rendered street, HxW")
    crop_size: tuple[int, int] = _option((1024, 1024), "pixels, N or HxW")
    scale: tuple[float, float] = _option((0.5, 2.0), "range of the random enlargement")
    flip: float = _option(0.5, "probability of mirroring", most=1)
    max_class_share: float | None = _option(
        None, "largest share of one class in a crop, 0-1", most=1
    )
    color_jitter: float | None = _option(None, "how far brightness, contrast, saturation change")
    batch_size: int = _option(3, "crops per process and forward pass", least=1)
    accumulation: int = _option(1, "forward passes per step; BatchNorm sees each alone", least=1)
    epochs: int = _option(484, "passes over the data", least=1)
    workers: int = _option(4, "processes that read data, per training process")
    optimizer: str = _option("momentum", "its name in timm; momentum is SGD without Nesterov")
    lr: float = _option(0.01, "learning rate at the start")
    momentum: float = _option(0.9, "of the optimizer", most=1)
    weight_decay: float = _option(5e-4, "of the optimizer")
    decay_norm_and_bias: bool = _option(True, "whether BatchNorm and biases decay too")
    head_factor: float = _option(1.0, "multiplies the learning rate of DAPPM and the heads")
    power: float = _option(0.9, "of the polynomial schedule")
    warmup_epochs: int = _option(0, "epochs of rising learning rate")
    ema: float = _option(0.0, "decay of the averaged weights that are validated; 0: none", most=1)
    loss: Literal["ohem", "ce"] = _option("ohem", "which pixels count: the hard ones, or all (ce)")
    ohem_threshold: float = _option(0.9, "probability below which a pixel is hard", most=1)
    min_kept: int = _option(131072, "pixels OHEM keeps at least, per process and pass", least=1)
    min_kept_fraction: float | None = _option(
        None, "the same as a share, 0-1, in its place", most=1
    )
    aux_weight: float = _option(0.4, "of the auxiliary loss; 0: no auxiliary head")
    class_weights: Literal["none", "cityscapes", "inverse_log", "median_frequency"] = _option(
        "none", "cityscapes: the published ones; the last two are counted in the training labels"
    )
    freeze_bn: bool = _option(False, "keep BatchNorm as it is, for tiny batches")
    precision: Literal["no", "fp16", "bf16"] = _option("no", "of mixed precision")
    channels_last: bool = _option(True, "whether channels are innermost in memory")
    cpu: bool = _option(False, "use no accelerator")
    seed: int = _option(0, "of weights, order and augmentation")
    output: str | None = _option(
        None, "the run's folder; runs/DATA-MODEL by default", metavar="DIR"
    )
    validate_every: int = _option(1, "epochs between validations; 0: never")
    log_every: int = _option(20, "steps between lines of the log", least=1)
    save_every: int = _option(0, "steps between checkpoints inside an epoch; 0: none")

    @property
    def folder(self) -> str:
        """Where the run writes."""
        return self.output or f"runs/{self.data}-{self.model}"

    def to_json(self) -> str:
        """Return all settings as JSON, one a line."""
        lines = [f'  "{name}": {json.dumps(value)}' for name, value in vars(self).items()]
        return "\n".join(["{", ",\n".join(lines), "}"])


class Recipe(NamedTuple):
    """Settings that differ from the defaults, and what is known of them."""

    about: str
    settings: dict[str, Any]


PAPER = Recipe(
    "Batch 12 over 4 GPUs with SyncBN: torchrun --nproc-per-node 4 (3 crops each). Published by "
    "others, not measured here: val mIoU 77.8 (slim), 79.5 (23), about 1 % from run to run. "
    "Sources: configurations of chenjun2hao/DDRNet.pytorch and mmsegmentation; arXiv 2101.06085.",
    {"class_weights": "cityscapes", "validate_every": 4},
)
SINGLE_GPU = Recipe(
    "One GPU of 8 GB: half precision, and OHEM that keeps a share of the pixels, since the "
    "published count would be another loss here. pyradd/DDRNet-pytorch reports 77.38 val mIoU for "
    "one run of DDRNet-23 with this rate, batch and length on an RTX 2070 Super; not measured "
    "here. Out of memory: --batch-size 4, not a smaller crop.",
    {
        "batch_size": 5,
        "epochs": 250,
        "lr": 0.003,
        "class_weights": "cityscapes",
        "min_kept_fraction": 1 / 48,
        "precision": "fp16",
        "validate_every": 2,
    },
)
SUPERGRADIENTS = Recipe(
    "Batch 24 over 4 GPUs with SyncBN: two learning rates, warm-up, no decay of BatchNorm and "
    "biases, averaged weights. Theirs uses Dice and edge losses where this uses OHEM, so their "
    "78.0 (slim), 80.3 (23), 81.3 (39) val mIoU are no promise; not measured here. Source: the "
    "cityscapes_ddrnet recipe of super-gradients.",
    {
        "batch_size": 6,
        "epochs": 500,
        "lr": 0.0075,
        "head_factor": 10.0,
        "decay_norm_and_bias": False,
        "warmup_epochs": 10,
        "color_jitter": 0.5,
        "ema": 0.9999,
        "validate_every": 4,
    },
)
RECIPES = {"paper": PAPER, "single-gpu": SINGLE_GPU, "supergradients": SUPERGRADIENTS}
DEFAULT_RECIPE = "single-gpu"


class CommandLine(NamedTuple):
    """What was typed: a recipe, the settings given beside it, what to do."""

    recipe: str
    given: dict[str, Any]
    resume: str | None
    print_config: bool

    def settings(self, saved: Mapping[str, Any] | None = None) -> Settings:
        """Return the defaults under the recipe under what a checkpoint saved under the given.

        Raises:
            ValueError: If the checkpoint holds settings this version does not have.
        """
        replaced = {"min_kept_fraction": None} if "min_kept" in self.given else {}
        layers = {**RECIPES[self.recipe].settings, **(saved or {}), **replaced, **self.given}
        unknown = layers.keys() - {field.name for field in dataclasses.fields(Settings)}
        if unknown:
            raise ValueError(f"the checkpoint holds unknown settings: {sorted(unknown)}")
        return Settings(**layers)


def parse(argv: Sequence[str] | None = None) -> CommandLine:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--recipe NAME] [--SETTING VALUE ...] [--resume [PATH]] [--print-config]",
        description=f"Train a DDRNet. The defaults are those of the recipe {DEFAULT_RECIPE}; "
        "another --recipe has its own, and any argument overrides them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n\n".join(
            textwrap.fill(f"{name}: {recipe.about}", 98) for name, recipe in RECIPES.items()
        ),
    )
    parser.add_argument("--recipe", choices=RECIPES, help="see below")
    parser.add_argument("--print-config", action="store_true", help="show the settings and exit")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="PATH",
        help="go on from a checkpoint or a run's folder; without PATH from the newest of the run",
    )
    hints = get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        _add_setting(parser, field, hints[field.name])
    given = vars(parser.parse_args(argv))
    recipe, resume, print_config = (given.pop(n) for n in ("recipe", "resume", "print_config"))
    if recipe and resume is not None:
        parser.error("--recipe does not go with --resume: a run goes on with its own settings")
    return CommandLine(recipe or DEFAULT_RECIPE, given, resume, print_config)


def _add_setting(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], hint: Any) -> None:
    flag = "--" + field.name.replace("_", "-")
    default = RECIPES[DEFAULT_RECIPE].settings.get(field.name, field.default)
    shown = field.metadata["help"].replace("%", "%%")
    if default is not None:
        shown += f" (default: {_shown(default)})"
    parser.add_argument(flag, default=argparse.SUPPRESS, help=shown, **_kind(field, hint))


def _kind(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    """Return how argparse reads a setting of this type."""
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint is int:
        least = field.metadata.get("least", 0)
        return {"type": functools.partial(_whole_number, least=least), "metavar": "N"}
    if get_origin(hint) is tuple and int in get_args(hint):
        return {"type": _size, "metavar": "HxW"}
    if get_origin(hint) is tuple:
        return {"type": float, "nargs": 2, "metavar": ("FROM", "TO")}
    if hint is float or float in get_args(hint):
        most = field.metadata.get("most", math.inf)
        return {"type": functools.partial(_number, most=most), "metavar": "X"}
    return {"metavar": field.metadata.get("metavar", "NAME")}


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
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
