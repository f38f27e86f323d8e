"""Models out: into a folder, or to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ddrnet import registry
from ddrnet.checkpoints import mismatch
from ddrnet.files import StrPath, write_atomically
from ddrnet.network import DDRNet
from ddrnet.pretrained import hub
from ddrnet.pretrained.card import model_card
from ddrnet.pretrained.saved_model import CONFIG_NAME, WEIGHTS_NAME
from ddrnet.pretrained.tensors import expected_tensors, serialize
from ddrnet.spec import ModelSpec
from ddrnet.weights.row import Metric

CARD_NAME = "README.md"


def save_pretrained(
    model: DDRNet,
    directory: StrPath,
    *,
    aux_head: bool = False,
    metrics: Sequence[Metric] = (),
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> None:
    """Write a model so that `create_model("local-dir:...", pretrained=True)` returns it.

    The saved model is ready for use: its logits come at the images' size, whatever
    `model.upsample` is, and the auxiliary head is left out unless asked for. The folder gets
    `model.safetensors`, `config.json` (size, arguments, preprocessing, classes with their colours,
    results) and a model card. The same model gives the same bytes.

    Args:
        model: The model.
        directory: Is created where it does not exist.
        aux_head: Whether to save the auxiliary head too, to train on.
        metrics: Results of exactly this model, for the card; those of the weights it started
            from are not its own.
        license: SPDX identifier for the card; the card claims none by default.
        datasets: What it was trained on, for the card.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
        ValueError: If its tensors are not those that its configuration makes, or it has no
            auxiliary head to save.
        OSError: If the folder cannot be written.
    """
    folder = Path(directory).expanduser()
    files = _contents(model, "local-dir:path/to/this/folder", aux_head, metrics, license, datasets)
    write_folder(folder, files)


def push_to_hub(
    model: DDRNet,
    repo_id: str,
    *,
    aux_head: bool = False,
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
        aux_head: Whether to save the auxiliary head too, to train on.
        metrics: Results of exactly this model, for the card.
        license: SPDX identifier for the card; the card claims none by default.
        datasets: What it was trained on, for the card.
        private: Whether a new repository is private; None leaves it to the owner's settings.
        commit_message: Of the one commit that holds all files.

    Returns:
        The revision: the commit's hash.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
        ValueError: If its tensors are not those that its configuration makes, or it has no
            auxiliary head to save.
        HubError: If the Hub refuses.
    """
    files = _contents(model, f"hf-hub:{repo_id}", aux_head, metrics, license, datasets)
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
    aux_head: bool,
    metrics: Sequence[Metric],
    license: str | None,
    datasets: Sequence[str],
) -> dict[str, bytes]:
    """Return the files of a saved model; the configuration comes last and completes a folder."""
    if not isinstance(model, DDRNet):
        raise TypeError(
            f"expected a DDRNet, got {type(model).__name__}; unwrap it first (model.module of "
            "DistributedDataParallel, the model that torch.compile was given)"
        )
    if aux_head and model.aux_head is None:
        raise ValueError("aux_head=True, but the model has no auxiliary head to save")
    spec = ModelSpec(
        architecture=registry.find_model(model.config) or "",
        config=model.config,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        aux_head=aux_head,
        upsample=True,
        classes=model.classes,
        preprocessing=model.preprocessing,
        metrics=tuple(metrics),
        pretrained=model.pretrained.name if model.pretrained else "",
    )
    state = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if aux_head or not key.startswith("aux_head.")
    }
    wrong = mismatch(state, expected_tensors(spec), limit=3)
    if wrong:
        raise ValueError(
            "the model's tensors are not those that its configuration makes; a fused or otherwise "
            f"changed model cannot be saved, save the one it came from: {wrong}"
        )
    card = model_card(spec, place, license=license, datasets=datasets)
    return {
        WEIGHTS_NAME: serialize(state),
        CARD_NAME: card.encode(),
        CONFIG_NAME: spec.to_json().encode(),
    }
