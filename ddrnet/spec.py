"""A model's description without its tensors: merged, checked, read and written in one place.

Loads no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar, get_args

from ddrnet.errors import HubError
from ddrnet.labels import CITYSCAPES, ClassLabel, class_labels
from ddrnet.variants import DDRNetConfig
from ddrnet.weights import ROWS
from ddrnet.weights.row import IMAGENET, Metric, Preprocessing, Task, WeightsRow

LIBRARY = "ddrnet"

MODEL_TYPE = "ddrnet"
"""The `model_type` in `config.json`, by which transformers finds the classes of a model."""

IMAGE_PROCESSOR = "DDRNetImageProcessor"
"""The class by which transformers prepares images."""

_SOME_CLASS = ClassLabel("road", (0, 0, 0))
_SOME_METRIC = Metric("mIoU", 0.5, "CamVid", "val", (360, 480))
_Row = TypeVar("_Row", ClassLabel, Metric)

CONFIG_VERSION = 1
"""Version of `config.json`; raised when older libraries can no longer read it."""


@dataclass(frozen=True, kw_only=True)
class PartialSpec:
    """A description of a model by one source; None where that source says nothing.

    Attributes:
        config: The size.
        num_classes: Channels of the logits.
        in_chans: Channels of the input images.
        aux_head: Whether there is an auxiliary head.
        upsample: Whether logits come at the images' size.
        classes: One row per class.
        preprocessing: The normalisation of the input images.

    Raises:
        ValueError: If `num_classes` and `classes` contradict each other.
    """

    config: DDRNetConfig | None = None
    num_classes: int | None = None
    in_chans: int | None = None
    aux_head: bool | None = None
    upsample: bool | None = None
    classes: tuple[ClassLabel, ...] | None = None
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and self.num_classes not in (None, len(self.classes)):
            raise ValueError(
                f"num_classes={self.num_classes} contradicts {len(self.classes)} class names; the "
                "names alone are enough"
            )

    def over(self, other: PartialSpec) -> PartialSpec:
        """Return this spec, with its gaps filled from another one.

        Classes and their number go together: either one replaces both of the other spec, unless
        the numbers agree.
        """
        names = [field.name for field in fields(PartialSpec)]
        merged = {name: getattr(other, name) for name in names}
        merged |= {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.classes is not None:
            merged["num_classes"] = len(self.classes)
        elif self.num_classes is not None and len(other.classes or ()) != self.num_classes:
            merged["classes"] = None
        return PartialSpec(**merged)

    def complete(self) -> ModelSpec:
        """Return the spec of a whole model, with the gaps filled by the defaults.

        Raises:
            ValueError: If no size is given, or values contradict each other.
        """
        if self.config is None:
            raise ValueError("the size of the model is not known")
        in_chans = 3 if self.in_chans is None else self.in_chans
        preprocessing = self.preprocessing or IMAGENET
        if len(preprocessing.mean) == len(preprocessing.std) == len(IMAGENET.mean):
            preprocessing = preprocessing.for_channels(in_chans)
        classes = self.classes
        if classes is None:
            known = self.num_classes in (None, len(CITYSCAPES.classes))
            classes = CITYSCAPES.classes if known else numbered_classes(self.num_classes or 0)
        return ModelSpec(
            config=self.config,
            num_classes=len(classes) if self.num_classes is None else self.num_classes,
            in_chans=in_chans,
            aux_head=bool(self.aux_head),
            upsample=self.upsample is not False,
            classes=classes,
            preprocessing=preprocessing,
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(PartialSpec):
    """A complete description of a model, without its tensors.

    Attributes:
        architecture: The registered name of the size; "" if it has none.
        config: The size.
        num_classes: Channels of the logits.
        in_chans: Channels of the input images.
        aux_head: Whether there is an auxiliary head.
        upsample: Whether logits come at the images' size.
        classes: One row per class; empty for anything but a segmentation model.
        preprocessing: The normalisation of the input images.
        task: The task the tensors were trained for.
        metrics: Results of exactly these tensors.
        pretrained: "model.tag" of the weights the training started from, or "".

    Raises:
        TypeError: If a value is of another type.
        ValueError: If values contradict each other.
    """

    # field() without a default: otherwise the None of PartialSpec would be the default
    config: DDRNetConfig = field()
    num_classes: int = field()
    in_chans: int = field()
    aux_head: bool = field()
    upsample: bool = field()
    classes: tuple[ClassLabel, ...] = field()
    preprocessing: Preprocessing = field()
    architecture: str = ""
    task: Task = "segmentation"
    metrics: tuple[Metric, ...] = ()
    pretrained: str = ""

    def __post_init__(self) -> None:
        kinds = {"architecture": str, "pretrained": str, "num_classes": int, "in_chans": int}
        for name, kind in {**kinds, "aux_head": bool, "upsample": bool}.items():
            value = getattr(self, name)
            if type(value) is not kind:
                raise TypeError(f"{name} is {value!r}, expected {kind.__name__}")
        if (self.num_classes < 1 and self.task == "segmentation") or self.in_chans < 1:
            raise ValueError(
                f"num_classes and in_chans are at least 1, got {self.num_classes} and "
                f"{self.in_chans}"
            )
        if self.task not in get_args(Task):
            raise ValueError(f"task is {self.task!r}, expected one of {get_args(Task)}")
        super().__post_init__()
        lengths = {len(self.preprocessing.mean), len(self.preprocessing.std)}
        if lengths != {self.in_chans}:
            raise ValueError(
                f"preprocessing needs {self.in_chans} means and standard deviations, one per "
                f"input channel, got {self.preprocessing}"
            )

    @property
    def row(self) -> WeightsRow | None:
        """The weights row that the training started from, if this version of the library has it."""
        return next((row for row in ROWS if row.name == self.pretrained), None)

    def check_bounds(self) -> None:
        """Check the bounds of a `config.json`, which come from anywhere.

        Raises:
            ValueError: If a number is far beyond any DDRNet, or a text cannot be printed.
        """
        stages = [depth for _, depth in self.config.fusion_stages]
        bounds = {
            "width": (self.config.width, 256),
            "number of fusion stages": (len(stages), 8),
            "depth": (max(*self.config.trunk_depths, *stages), 16),
            "dappm_width": (self.config.dappm_width, 1024),
            "head_width": (self.config.head_width, 2048),
            "num_classes": (self.num_classes, 4096),
            "in_chans": (self.in_chans, 256),
        }
        for name, (value, bound) in bounds.items():
            if value > bound:
                raise ValueError(f"the {name} is {value}, above the bound of {bound}")
        if not all(map(math.isfinite, (*self.preprocessing.mean, *self.preprocessing.std))):
            raise ValueError(f"the preprocessing holds no finite numbers: {self.preprocessing}")
        for row in self.classes:
            if not row.name.isprintable() or not row.name.strip():
                raise ValueError(f"the name of a class cannot be printed: {row.name!a}")

    def to_json(self) -> str:
        """Return the text of `config.json`; equal models give equal texts.

        Raises:
            ValueError: If the model is too large for a `config.json`, or a text in it cannot be
                printed.
        """
        self.check_bounds()
        own = {"library": LIBRARY, "config_version": CONFIG_VERSION}
        content = asdict(self) | {"config": self.config.to_dict()}
        order = ("architecture", "config", "num_classes", "in_chans", "aux_head", "upsample")
        first = {name: content.pop(name) for name in order}
        return json.dumps({**own, **first, **content, "model_type": MODEL_TYPE}, indent=2) + "\n"

    def preprocessor_json(self) -> str:
        """Return the text of `preprocessor_config.json`, which transformers reads, and it alone."""
        content = {
            "image_processor_type": IMAGE_PROCESSOR,
            "image_mean": self.preprocessing.mean,
            "image_std": self.preprocessing.std,
        }
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str) -> ModelSpec:
        """Read a text that `to_json` wrote.

        Args:
            text: The content of `config.json`.
            place: The name of its folder or repository, for errors.

        Raises:
            HubError: If it describes something else, is damaged, or is newer than this library.
        """
        try:
            content = _strict_json(text)
        except (ValueError, RecursionError) as error:
            raise HubError(f"config.json of {place} is not strict JSON: {error}") from error
        _check_origin(content, place)
        try:
            spec = cls(**_parsed(content))
            spec.check_bounds()
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise HubError(f"config.json of {place} is damaged: {error!r}") from error
        return spec


def numbered_classes(count: int) -> tuple[ClassLabel, ...]:
    """Return `count` classes named class_0, class_1, ...

    Raises:
        ValueError: If `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"num_classes is at least 1, got {count}")
    return class_labels([f"class_{index}" for index in range(count)])


def is_own_config(text: str) -> bool:
    """Whether the text of a `config.json` was written by this library."""
    try:
        content = _strict_json(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("library") == LIBRARY


def _strict_json(text: str) -> Any:
    """Parse JSON; refuse keys that occur twice, and numbers and texts that others cannot show."""

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        for part in (*found, *found.values()):
            if isinstance(part, str) and not part.isprintable():
                raise ValueError(f"a text cannot be printed: {part[:40]!a}")
        return found

    def finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise ValueError(f"{number[:40]} is no finite number")
        return float(number)

    return json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)


def _check_origin(content: Any, place: str) -> None:
    """Raise unless this version of the library can read this content of a `config.json`."""
    if not isinstance(content, dict) or content.get("library") != LIBRARY:
        names = content if isinstance(content, dict) else {}
        foreign = [names.get(key) for key in ("architecture", "architectures", "model_type")]
        name = next(filter(None, foreign), None)
        what = f"holds another architecture, {name!r}" if name else "is not a ddrnet model"
        raise HubError(f"{place} {what}: its config.json was not written by ddrnet.save_pretrained")
    version = content.get("config_version")
    if not isinstance(version, int):
        raise HubError(f"config.json of {place} is damaged: config_version is {version!r}")
    if version > CONFIG_VERSION:
        raise HubError(
            f"{place} was saved by a newer ddrnet (config version {version}, this one reads up to "
            f"{CONFIG_VERSION}): pip install --upgrade ddrnet"
        )


def _parsed(content: Mapping[str, Any]) -> dict[str, Any]:
    foreign = {"library", "config_version", "model_type"}
    plain = {key: content[key] for key in content.keys() - foreign}
    return plain | {
        "config": DDRNetConfig.from_dict(content["config"]),
        "classes": tuple(
            _alike(ClassLabel(**{**row, "color": tuple(row["color"])}), _SOME_CLASS)
            for row in content["classes"]
        ),
        "preprocessing": Preprocessing(
            mean=tuple(map(float, content["preprocessing"]["mean"])),
            std=tuple(map(float, content["preprocessing"]["std"])),
        ),
        "metrics": tuple(
            _alike(Metric(**{**metric, "resolution": tuple(metric["resolution"])}), _SOME_METRIC)
            for metric in content.get("metrics", ())
        ),
    }


def _alike(row: _Row, sample: _Row) -> _Row:
    """Return a row if its values have the types of a sample.

    Raises:
        TypeError: If one has not.
    """
    for name, expected in vars(sample).items():
        value = getattr(row, name)
        parts = (
            zip(value, expected, strict=True) if type(expected) is tuple else [(value, expected)]
        )
        if any(type(part) is not type(like) for part, like in parts):
            raise TypeError(f"{name} is {value!r}, expected something like {expected!r}")
    return row
