"""Models out: into a folder, or to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from ddrnet import registry
from ddrnet.files import write_atomically
from ddrnet.network import DDRNet
from ddrnet.pretrained import hub
from ddrnet.pretrained.card import model_card
from ddrnet.pretrained.manifest import Manifest
from ddrnet.pretrained.saved_model import CONFIG_NAME, WEIGHTS_NAME
from ddrnet.pretrained.tensors import differences, listed, serialize
from ddrnet.weights.row import Metric

CARD_NAME = "README.md"


def save_pretrained(
    model: DDRNet,
    directory: str | PathLike[str],
    *,
    metrics: Sequence[Metric] = (),
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> None:
    """Write a model so that `create_model("local-dir:...", pretrained=True)` returns it.

    The folder gets `model.safetensors`, `config.json` (size, arguments, preprocessing, classes
    with their colours, results) and a model card. The same model gives the same bytes.

    Args:
        model: The model.
        directory: Is created where it does not exist.
        metrics: Results of exactly this model, for the card; those of the weights it started
            from are not its own.
        license: SPDX identifier for the card; by default that of the weights it started from.
        datasets: What it was trained on, for the card.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
        ValueError: If its tensors are not those that its configuration makes.
        OSError: If the folder cannot be written.
    """
    folder = Path(directory).expanduser()
    files = _contents(model, "local-dir:path/to/this/folder", metrics, license, datasets)
    write_folder(folder, files)


def push_to_hub(
    model: DDRNet,
    repo_id: str,
    *,
    metrics: Sequence[Metric] = (),
    license: str | None = None,
    datasets: Sequence[str] = (),
    private: bool | None = None,
    commit_message: str = "Upload a DDRNet",
) -> str:
    """Write a model to a repository of the Hub, which is created where it does not exist.

    `create_model("hf-hub:owner/name", pretrained=True)` then returns it to anybody who may read
    the repository. HF_TOKEN or `hf auth login` give the right to write.

    Args:
        model: The model.
        repo_id: "owner/name".
        metrics: Results of exactly this model, for the card.
        license: SPDX identifier for the card; by default that of the weights it started from.
        datasets: What it was trained on, for the card.
        private: Whether a new repository is private; None leaves it to the owner's settings.
        commit_message: Of the one commit that holds all files.

    Returns:
        The revision: the commit's hash.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
        ValueError: If its tensors are not those that its configuration makes.
        HubError: If the Hub refuses.
    """
    files = _contents(model, f"hf-hub:{repo_id}", metrics, license, datasets)
    return hub.upload(repo_id, files, commit_message, private=private)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each as a whole or not at all.

    Raises:
        OSError: If that cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)


def _contents(
    model: DDRNet,
    place: str,
    metrics: Sequence[Metric],
    license: str | None,
    datasets: Sequence[str],
) -> dict[str, bytes]:
    """Return the files of a saved model; the configuration comes last and completes a folder."""
    _check_model(model)
    manifest = _manifest(model, metrics)
    card = model_card(manifest, place, license=license, datasets=datasets)
    return {
        WEIGHTS_NAME: serialize(model.state_dict()),
        CARD_NAME: card.encode(),
        CONFIG_NAME: manifest.to_json().encode(),
    }


def _check_model(model: DDRNet) -> None:
    """Raise unless the tensors can be loaded into what the configuration builds."""
    if not isinstance(model, DDRNet):
        raise TypeError(
            f"expected a DDRNet, got {type(model).__name__}; unwrap it first (model.module of "
            "DistributedDataParallel, the model that torch.compile was given)"
        )
    wrong = differences(
        model.state_dict(),
        model.config,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        aux_head=model.aux_head is not None,
    )
    if wrong:
        raise ValueError(
            "the model's tensors are not those that its configuration makes; a fused or otherwise "
            f"changed model cannot be saved, save the one it came from: {listed(wrong)}"
        )


def _manifest(model: DDRNet, metrics: Sequence[Metric]) -> Manifest:
    return Manifest(
        architecture=registry.find_model(model.config) or "",
        config=model.config,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        aux_head=model.aux_head is not None,
        upsample=model.upsample,
        classes=model.classes,
        preprocessing=model.preprocessing,
        metrics=tuple(metrics),
        pretrained=model.pretrained.name if model.pretrained else "",
    )
