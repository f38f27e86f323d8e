"""What `config.json` says of a saved model: all that is needed to build it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from ddrnet.errors import HubError
from ddrnet.labels import ClassLabel
from ddrnet.variants import DDRNetConfig
from ddrnet.weights import ROWS
from ddrnet.weights.row import Metric, Preprocessing, Task, WeightsRow

LIBRARY = "ddrnet"

CONFIG_VERSION = 1
"""Raised when an older library could not read `config.json` any more."""


@dataclass(frozen=True)
class Manifest:
    """A saved model without its tensors.

    Attributes:
        architecture: The registered name of the size, or "" for an own one.
        config: The size.
        num_classes: Channels of the logits.
        in_chans: Channels of the input images.
        aux_head: Whether there is an auxiliary head.
        upsample: Whether logits come at the images' size.
        classes: One row per class; empty for anything but a segmentation model.
        preprocessing: The normalisation it expects.
        task: What the tensors were trained for.
        metrics: Results of exactly these tensors.
        pretrained: "model.tag" of the weights it started from, or "".
    """

    architecture: str
    config: DDRNetConfig
    num_classes: int
    in_chans: int
    aux_head: bool
    upsample: bool
    classes: tuple[ClassLabel, ...]
    preprocessing: Preprocessing
    task: Task = "segmentation"
    metrics: tuple[Metric, ...] = ()
    pretrained: str = ""

    @property
    def row(self) -> WeightsRow | None:
        """The weights row it started from, if this version of the library lists it."""
        return next((row for row in ROWS if row.name == self.pretrained), None)

    @property
    def options(self) -> dict[str, Any]:
        """All that can be said of a model besides its size."""
        names = ("num_classes", "in_chans", "aux_head", "upsample", "classes", "preprocessing")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """Return the text of `config.json`, the same for the same model."""
        own = {"library": LIBRARY, "config_version": CONFIG_VERSION}
        fields = {**own, **asdict(self), "config": self.config.to_dict()}
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str) -> Manifest:
        """Read what `to_json` wrote.

        Args:
            text: The content of `config.json`.
            place: Where it lies, for errors.

        Raises:
            HubError: If it describes something else, or is newer than this library.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise HubError(f"config.json of {place} is not JSON: {error}") from error
        _check_origin(fields, place)
        try:
            manifest = cls(**_parsed(fields))
            _check_values(manifest)
            return manifest
        except (TypeError, ValueError, KeyError) as error:
            raise HubError(f"config.json of {place} is damaged: {error!r}") from error


def _check_origin(fields: Any, place: str) -> None:
    """Raise unless this version of this library can read the fields."""
    if not isinstance(fields, dict) or fields.get("library") != LIBRARY:
        raise HubError(
            f"{place} {_other_content(fields)}: its config.json was not written by "
            "ddrnet.save_pretrained"
        )
    version = fields.get("config_version")
    if not isinstance(version, int):
        raise HubError(f"config.json of {place} is damaged: config_version is {version!r}")
    if version > CONFIG_VERSION:
        raise HubError(
            f"{place} was saved by a newer ddrnet (config version {version}, this one reads up to "
            f"{CONFIG_VERSION}): pip install --upgrade ddrnet"
        )


def _other_content(fields: Any) -> str:
    """Name another library's architecture where the fields do."""
    names = fields if isinstance(fields, dict) else {}
    for key in ("architecture", "architectures", "model_type"):
        if names.get(key):
            return f"holds another architecture, {names[key]!r}"
    return "is not a ddrnet model"


def _parsed(fields: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: fields[key] for key in fields.keys() - {"library", "config_version"}}
    return plain | {
        "config": DDRNetConfig.from_dict(fields["config"]),
        "classes": tuple(_class_label(row) for row in fields["classes"]),
        "preprocessing": Preprocessing(
            mean=tuple(map(float, fields["preprocessing"]["mean"])),
            std=tuple(map(float, fields["preprocessing"]["std"])),
        ),
        "metrics": tuple(_metric(metric) for metric in fields.get("metrics", ())),
    }


def _check_values(manifest: Manifest) -> None:
    """Raise unless every plain value is of its kind, and the counts agree."""
    kinds = {"architecture": str, "pretrained": str, "num_classes": int, "in_chans": int}
    for name, kind in {**kinds, "aux_head": bool, "upsample": bool}.items():
        value = getattr(manifest, name)
        if type(value) is not kind:
            raise TypeError(f"{name} is {value!r}, expected {kind.__name__}")
    if manifest.task not in get_args(Task):
        raise ValueError(f"task is {manifest.task!r}, expected one of {get_args(Task)}")
    if len(manifest.classes) != manifest.num_classes:
        raise ValueError(f"{len(manifest.classes)} classes, but num_classes={manifest.num_classes}")
    lengths = {len(manifest.preprocessing.mean), len(manifest.preprocessing.std)}
    if lengths != {manifest.in_chans}:
        raise ValueError(f"{manifest.preprocessing} does not fit in_chans={manifest.in_chans}")


def _class_label(fields: Mapping[str, Any]) -> ClassLabel:
    return ClassLabel(**{**fields, "color": tuple(fields["color"])})


def _metric(fields: Mapping[str, Any]) -> Metric:
    return Metric(**{**fields, "resolution": tuple(fields["resolution"])})
