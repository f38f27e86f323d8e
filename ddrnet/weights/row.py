"""The row of the weights table, and its parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ddrnet.labels import ClassLabel

Family = Literal["official", "mmseg", "supergradients", "ddrnet"]
"""A family of checkpoints with the same tensor names."""

Task = Literal["segmentation", "classification", "backbone"]
"""The task of a checkpoint; a backbone is a classifier without its last layers."""


@dataclass(frozen=True)
class Preprocessing:
    """The normalisation a network was trained with, for images scaled to 0-1.

    Attributes:
        mean: One number per input channel, subtracted first.
        std: One number per input channel, divided by second.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_channels(self, in_chans: int) -> Preprocessing:
        """Return statistics for `in_chans` channels; channels beyond RGB take RGB's average."""
        if in_chans == len(self.mean):
            return self
        return Preprocessing(_extended(self.mean, in_chans), _extended(self.std, in_chans))


def _extended(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    average = sum(values) / len(values)
    kept = values if count > len(values) else ()
    return kept + (average,) * (count - len(kept))


IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""RGB statistics of ImageNet, which every published DDRNet uses.

Source: the training configurations listed in docs/weights.md.
"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place that serves a checkpoint file, and the known facts about the file.

    Attributes:
        sha256: The whole hash, its known first digits, or None.
        size: Size of the file in bytes, or None.
        enforced: Whether a file with another hash or size is refused. False if only third parties
            report them: then a difference causes a warning.
    """

    sha256: str | None = None
    size: int | None = None
    enforced: bool = True

    @property
    def address(self) -> str:
        """The name of the source in logs, errors and records."""
        raise NotImplementedError


@dataclass(frozen=True)
class WebFile(Source):
    """A file behind plain links.

    Attributes:
        links: Addresses of the same file, tried in order.
    """

    links: tuple[str, ...]

    @property
    def address(self) -> str:
        """The first link."""
        return self.links[0]


@dataclass(frozen=True)
class HubFile(Source):
    """A file on the Hugging Face Hub with this library's tensor names.

    Attributes:
        repo: "owner/name".
        revision: A commit or a branch.
        filename: Path in the repository; always a safetensors file.
    """

    repo: str
    revision: str = "main"
    filename: str = "model.safetensors"

    @property
    def address(self) -> str:
        """The repository and revision, in the form that `create_model` takes."""
        return f"hf-hub:{self.repo}@{self.revision}"


@dataclass(frozen=True, kw_only=True)
class PackagedFile(Source):
    """A file that ships inside this package, in `assets/`, with this library's tensor names.

    Attributes:
        sha256: The whole hash.
        size: Size of the file, in bytes.
        filename: Name of the file.
    """

    filename: str
    sha256: str
    size: int

    @property
    def address(self) -> str:
        """The path below the folder that holds the package."""
        return f"ddrnet/assets/{self.filename}"

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Path(__file__).parents[1] / "assets" / self.filename


@dataclass(frozen=True)
class Metric:
    """A published result of a checkpoint.

    Attributes:
        name: "mIoU" or "top-1 accuracy".
        value: A fraction, 0-1.
        data: Common name of the data set it was measured on.
        split: The measured part of the data set.
        resolution: Height and width of the network's input, in pixels.
        scales: Whether logits of several image sizes were averaged.
        flip: Whether the average includes the logits of the mirrored image.
        reported_by: The person or project that measured it.
    """

    name: str
    value: float
    data: str
    split: str
    resolution: tuple[int, int]
    scales: Literal["single", "multi"] = "single"
    flip: bool = False
    reported_by: str = "the authors"

    @property
    def percent(self) -> str:
        """The value in percent as published, such as "77.8"."""
        return f"{100 * self.value:.2f}".removesuffix("0")

    @property
    def conditions(self) -> str:
        """Data, split, input size, scales and flipping, as one phrase."""
        height, width = self.resolution
        flip = " and flip" if self.flip else ""
        return f"{self.data} {self.split}, {height} x {width}, {self.scales} scale{flip}"


@dataclass(frozen=True)
class WeightsRow:
    """One public checkpoint of one model, with all known facts about it.

    Attributes:
        model: The model's name.
        tag: Name of the checkpoint among those of the model.
        sources: Places that serve the file, tried in order.
        family: The family of the file's tensor names.
        task: The task it was trained for.
        data: Common name of the data set.
        train_split: The images it was trained on.
        metrics: Published results; the first one is quoted.
        origin: Page of the publisher.
        license: SPDX identifier of the code's licence.
        license_note: Scope of the licence, and whether it covers the weights.
        data_terms: Terms of the images and labels it was trained on.
        recipe: A summary of the training.
        classes: One row per output channel; empty without a segmentation head.
        extra_data: Labels beyond `train_split`, or "".
        distillation: The kind of distillation and its teacher, or "".
        unverified: Facts that nobody has confirmed from the file itself.
        caveat: A warning that every output made with these weights carries, or "".
        preprocessing: The normalisation it expects.
    """

    model: str
    tag: str
    sources: tuple[Source, ...]
    family: Family
    task: Task
    data: str
    train_split: str
    metrics: tuple[Metric, ...]
    origin: str
    license: str
    license_note: str
    data_terms: str
    recipe: str
    classes: tuple[ClassLabel, ...] = ()
    extra_data: str = ""
    distillation: str = ""
    unverified: tuple[str, ...] = ()
    caveat: str = ""
    preprocessing: Preprocessing = IMAGENET

    @property
    def name(self) -> str:
        """The name that `create_model` takes: "model.tag"."""
        return f"{self.model}.{self.tag}"

    @property
    def packaged(self) -> PackagedFile | None:
        """The file that ships with this package and needs no network; None without one."""
        return next((file for file in self.sources if isinstance(file, PackagedFile)), None)
