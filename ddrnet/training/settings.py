"""The settings of a training run. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

_PROCESSORS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)

GROUPS = {
    "data": "data",
    "model": "model",
    "crop_size": "augmentation",
    "batch_size": "schedule",
    "loss": "loss",
    "teacher": "distillation",
    "precision": "hardware",
    "output": "output",
}
"""The first setting of each group of `ddrnet train --help`, and the group's name."""


def _option(default: Any, help: str, **more: Any) -> Any:
    """Declare a setting: its default, its help, and perhaps `metavar`, `least`, `most`.

    `shown` says the default in words.
    """
    return dataclasses.field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class Settings:
    """The settings of a run; each field is the option of `ddrnet train` with the same name.

    `ddrnet train --help` describes every field. The defaults are those of the recipe `single-gpu`.

    Raises:
        ValueError: If a setting with a fixed list of values has another one.
    """

    data: Literal["auto", "cityscapes", "camvid", "folder", "synthetic"] = _option(
        "auto", "the kind of data set: auto recognises it by its folders, synthetic renders streets"
    )
    data_path: str | None = _option(None, "the data set's folder", metavar="ROOT")
    cache_dir: str | None = _option(None, "a folder that keeps decoded samples", metavar="DIR")
    train_split: str = _option("train", "the split to train on, such as train or trainval")
    val_split: str = _option("val", "the split to validate on")
    val_fraction: float | None = _option(
        None,
        "draw the splits train and val from a folder without splits: the share of val, 0-1",
        most=1,
    )
    synthetic_images: int = _option(400, "number of rendered training streets", least=1)
    synthetic_size: tuple[int, int] = _option((256, 512), "size of a rendered street")

    model: str = _option("ddrnet_23", "the size, such as ddrnet_23_slim")
    init: str = _option(
        "auto",
        "initial weights: none, a tag such as in1k or cityscapes, or the path of a checkpoint, "
        "whose classes may differ; auto takes in1k where the model has it",
    )
    freeze_bn: bool = _option(
        False, "freeze the statistics and weights of BatchNorm, for tiny batches"
    )
    ema: float = _option(
        0.0, "decay of the averaged weights that are validated; 0 averages none", most=1
    )

    crop_size: tuple[int, int] | None = _option(
        None,
        "size of the training crops in pixels, N or HxW",
        shown="1024x1024, or the size of the images where that is smaller",
    )
    scale: tuple[float, float] = _option((0.5, 2.0), "range of the random scale factor")
    flip: float = _option(0.5, "probability of mirroring", most=1)
    max_class_share: float | None = _option(
        None, "largest share of one class in a crop, 0-1", most=1
    )
    color_jitter: float | None = _option(
        None, "largest change of brightness, contrast and saturation"
    )

    batch_size: int = _option(5, "crops per process and forward pass", least=1)
    accumulation: int = _option(
        1, "forward passes per step; BatchNorm sees each pass alone", least=1
    )
    epochs: int = _option(250, "passes over the data", least=1)
    warmup_epochs: int = _option(0, "epochs with a rising learning rate")
    optimizer: str = _option(
        "momentum", "the optimizer's name in timm; momentum is SGD without Nesterov"
    )
    lr: float = _option(0.003, "initial learning rate")
    power: float = _option(0.9, "power of the polynomial schedule")
    head_factor: float = _option(1.0, "factor on the learning rate of DAPPM and the heads")
    momentum: float = _option(0.9, "momentum of the optimizer", most=1)
    weight_decay: float = _option(5e-4, "weight decay of the optimizer")
    decay_norm_and_bias: bool = _option(True, "apply weight decay to BatchNorm and biases too")
    seed: int = _option(0, "seed of weights, sample order and augmentation")

    loss: Literal["ohem", "ce"] = _option(
        "ohem", "cross entropy of the hard pixels (ohem) or of all pixels (ce)"
    )
    ohem_threshold: float = _option(
        0.9, "probability of the true class below which a pixel is hard", most=1
    )
    min_kept: int = _option(
        131072, "least number of pixels that OHEM keeps, per process and pass", least=1
    )
    min_kept_fraction: float | None = _option(
        1 / 48, "the same as a share of the pixels, 0-1; --min-kept replaces it", most=1
    )
    aux_weight: float = _option(
        0.4, "weight of the auxiliary loss; 0 trains without an auxiliary head"
    )
    class_weights: Literal["auto", "none", "cityscapes", "inverse_log", "median_frequency"] = (
        _option(
            "auto",
            "cityscapes are the published weights; inverse_log and median_frequency count the "
            "training labels; auto takes cityscapes for its 19 classes, else none",
        )
    )

    teacher: str | None = _option(
        None,
        "a trained model to learn from besides the labels: a name such as ddrnet_23.cityscapes, "
        "the folder of a model such as runs/x/best, or a checkpoint",
    )
    distill_weight: float = _option(1.0, "weight of the distillation loss; 0 asks no teacher")
    temperature: float = _option(1.0, "divides the logits that the distillation loss compares")

    precision: Literal["auto", "no", "fp16", "bf16"] = _option(
        "auto", "mixed precision; auto takes bf16 or fp16 on CUDA, else no"
    )
    channels_last: bool = _option(True, "store activations with channels innermost")
    workers: int = _option(
        min(4, _PROCESSORS),
        "loader processes per training process",
        shown="4, or the number of processors where that is lower",
    )
    cpu: bool = _option(False, "use no accelerator")

    output: str | None = _option(
        None,
        "the run's folder",
        metavar="DIR",
        shown="runs/DATA-MODEL; DATA is the name of ROOT, or --data where that is given",
    )
    validate_every: int = _option(2, "epochs between validations; 0 never validates")
    log_every: int = _option(20, "steps between lines of the log", least=1)
    save_every: int = _option(
        0, "steps between checkpoints inside an epoch; 0 saves after epochs only"
    )

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Settings).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise ValueError(f"{name} is one of {', '.join(get_args(hint))}, got {value!r}")

    @property
    def folder(self) -> str:
        """The folder that the run writes into."""
        data: str = self.data
        if data == "auto" and self.data_path is not None:
            data = Path(self.data_path).resolve().name
        return self.output or f"runs/{data}-{self.model}"

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """Return these settings with other values; a pixel count replaces a pixel share.

        Raises:
            ValueError: If a name is no setting.
        """
        unknown = sorted(changes.keys() - vars(self).keys())
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        replaced = {"min_kept_fraction": None} if "min_kept" in changes else {}
        return dataclasses.replace(self, **{**replaced, **changes})

    def to_json(self) -> str:
        """Return all settings as JSON, one per line."""
        lines = [f'  "{name}": {json.dumps(value)}' for name, value in vars(self).items()]
        return "\n".join(["{", ",\n".join(lines), "}"])
