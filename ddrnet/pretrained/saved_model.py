"""Saved models by name: "hf-hub:owner/repo[@revision]" and "local-dir:path"."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ddrnet.checkpoints import mismatch
from ddrnet.errors import CheckpointError, HubError
from ddrnet.files import StrPath
from ddrnet.pretrained import hub
from ddrnet.pretrained.tensors import expected_tensors, read_safetensors
from ddrnet.spec import ModelSpec, is_own_config
from ddrnet.weights.row import HubFile

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

_LARGEST_CONFIG = 1 << 20  # bytes
_HUB, _LOCAL = "hf-hub:", "local-dir:"


class SavedModel(NamedTuple):
    """The content of a repository or a folder.

    Attributes:
        spec: The model without its tensors.
        state: The tensors under this library's names; None if only the spec was read.
    """

    spec: ModelSpec
    state: dict[str, Tensor] | None


def is_saved_model(name: str) -> bool:
    """Whether `name` names a repository of the Hub or a local folder."""
    return name.startswith((_HUB, _LOCAL))


def read_folder(name: str, *, weights: bool = True, cache_dir: StrPath | None = None) -> SavedModel:
    """Read a model that `save_pretrained` wrote; only config.json and safetensors are read.

    Args:
        name: "hf-hub:owner/repo[@revision]" or "local-dir:path".
        weights: Whether to read the tensors too.
        cache_dir: Replaces huggingface_hub's cache.

    Raises:
        HubError: If the repository or folder does not exist, holds something else, or has tensors
            that do not match its config.json.
    """
    config = _find(name, CONFIG_NAME, cache_dir)
    spec = ModelSpec.from_json(_read_text(config, name), name)
    if spec.task != "segmentation":
        raise HubError(
            f"{name} holds a {spec.task} model, not a segmentation model; it mirrors "
            f"{spec.pretrained}: pass that name to create_model"
        )
    if not weights:
        return SavedModel(spec, None)
    pinned = name
    if name.startswith(_HUB):
        # The commit of config.json: a branch may move between the two downloads.
        pinned = f"{name.partition('@')[0]}@{config.parent.name}"
    return SavedModel(spec, _read_tensors(_find(pinned, WEIGHTS_NAME, cache_dir), name, spec))


def read_spec_beside(weights: StrPath) -> ModelSpec | None:
    """Read the `config.json` beside a `model.safetensors`; None if this library did not write one.

    Raises:
        HubError: If the file is damaged, or newer than this library.
    """
    path = Path(weights).expanduser()
    config = path.with_name(CONFIG_NAME)
    if path.name != WEIGHTS_NAME or not config.is_file():
        return None
    text = _read_text(config, str(path.parent))
    return ModelSpec.from_json(text, str(path.parent)) if is_own_config(text) else None


def _find(name: str, filename: str, cache_dir: StrPath | None) -> Path:
    """Return the path of a file of a saved model; a file on the Hub is fetched."""
    if name.startswith(_HUB):
        repo, _, revision = name.removeprefix(_HUB).partition("@")
        root = None if cache_dir is None else Path(cache_dir).expanduser()
        return hub.download(HubFile(repo, revision or "main", filename), root)
    folder = Path(name.removeprefix(_LOCAL)).expanduser()
    if not folder.is_dir():
        raise HubError(f"there is no folder {folder}")
    path = folder / filename
    if not path.is_file():
        best = folder / "best"
        found = f"; a run's model is in {best}" if (best / filename).is_file() else ""
        raise HubError(f"{folder} has no file {filename}, as save_pretrained writes it{found}")
    return path


def _read_text(path: Path, name: str) -> str:
    if path.stat().st_size > _LARGEST_CONFIG:
        raise HubError(f"{path.name} of {name} is larger than {_LARGEST_CONFIG} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HubError(f"{path.name} of {name} is not text: {error}") from error


def _read_tensors(path: Path, name: str, spec: ModelSpec) -> dict[str, Tensor]:
    try:
        state = read_safetensors(path)
    except CheckpointError as error:
        raise HubError(f"{name} cannot be used: {error}") from error
    wrong = mismatch(state, expected_tensors(spec), limit=3)
    if wrong:
        raise HubError(
            f"{name} cannot be used: {path.name} does not hold the model that {CONFIG_NAME} "
            f"describes: {wrong}"
        )
    return state
