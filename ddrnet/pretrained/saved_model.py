"""Saved models by name: "hf-hub:owner/repo[@revision]" and "local-dir:path"."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ddrnet.errors import CheckpointError, HubError
from ddrnet.pretrained import hub
from ddrnet.pretrained.manifest import Manifest
from ddrnet.pretrained.tensors import differences, listed, read_safetensors
from ddrnet.variants import DDRNetConfig
from ddrnet.weights.row import HubFile, WeightsRow

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

_HUB, _LOCAL = "hf-hub:", "local-dir:"


class SavedModel(NamedTuple):
    """What a repository or a folder holds.

    Attributes:
        config: The size.
        options: All else that can be said of a model, by its name in `DDRNet`.
        row: The weights row it started from, or None.
        state: The tensors in this library's names, or None where they were not asked for.
    """

    config: DDRNetConfig
    options: dict[str, Any]
    row: WeightsRow | None
    state: dict[str, Tensor] | None


def is_saved_model(name: str) -> bool:
    """Whether `name` names a repository of the Hub or a local folder."""
    return name.startswith((_HUB, _LOCAL))


def read_folder(
    name: str, *, weights: bool = True, cache_dir: str | PathLike[str] | None = None
) -> SavedModel:
    """Read a model that `save_pretrained` wrote; of the Hub nothing but config and safetensors.

    Args:
        name: "hf-hub:owner/repo[@revision]" or "local-dir:path".
        weights: Whether to read the tensors too.
        cache_dir: Replaces huggingface_hub's cache.

    Raises:
        HubError: If there is no such repository or folder, or it holds something else, or its
            tensors are not all those that its config.json makes.
    """
    place = _Repository(name, cache_dir) if name.startswith(_HUB) else _Directory(name)
    manifest = Manifest.from_json(_read_text(place.find(CONFIG_NAME), name), name)
    if manifest.task != "segmentation":
        raise HubError(
            f"{name} holds a {manifest.task}, not a segmentation model; it is a mirror of "
            f"{manifest.pretrained}, which create_model loads by that name"
        )
    state = _read_tensors(place.find(WEIGHTS_NAME), name, manifest) if weights else None
    return SavedModel(manifest.config, manifest.options, manifest.row, state)


class _Repository:
    """A repository of the Hub, held at the commit that its first file came from."""

    def __init__(self, name: str, cache_dir: str | PathLike[str] | None) -> None:
        repo, _, revision = name.removeprefix(_HUB).partition("@")
        self.repo, self.revision = repo, revision or "main"
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()

    def find(self, filename: str) -> Path:
        file = HubFile(self.repo, self.revision, filename)
        path = hub.download(file, self.cache_dir)
        self.revision = path.parent.name
        return path


class _Directory:
    """A local folder."""

    def __init__(self, name: str) -> None:
        self.path = Path(name.removeprefix(_LOCAL)).expanduser()
        if not self.path.is_dir():
            raise HubError(f"there is no folder {self.path}")

    def find(self, filename: str) -> Path:
        path = self.path / filename
        if not path.is_file():
            raise HubError(f"{self.path} has no file {filename}; ddrnet.save_pretrained writes one")
        return path


def _read_text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HubError(f"{path.name} of {name} is not text: {error}") from error


def _read_tensors(path: Path, name: str, manifest: Manifest) -> dict[str, Tensor]:
    try:
        state = read_safetensors(path)
    except CheckpointError as error:
        raise HubError(f"{name} cannot be used: {error}") from error
    wrong = differences(
        state,
        manifest.config,
        num_classes=manifest.num_classes,
        in_chans=manifest.in_chans,
        aux_head=manifest.aux_head,
    )
    if wrong:
        raise HubError(
            f"{name} cannot be used: {path.name} does not hold the model that {CONFIG_NAME} "
            f"describes: {listed(wrong)}"
        )
    return state
