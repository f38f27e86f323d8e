"""Writes models to a folder or to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
PREPROCESSOR_NAME = "preprocessor_config.json"


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

    The saved model is ready for use: its logits have the images' size, whatever `model.upsample`
    is, and the auxiliary head is left out unless `aux_head=True`. The folder gets
    `model.safetensors`, `config.json` (size, arguments, preprocessing, classes with their colours,
    results), a model card, and `preprocessor_config.json` for transformers. Equal models give
    equal bytes.

    Args:
        model: The model.
        directory: The folder; created if it does not exist.
        aux_head: Whether to save the auxiliary head too, for further training.
        metrics: Results of exactly this model, for the card. Results of the weights that the
            training started from do not belong here.
        license: SPDX identifier for the card, which claims no licence by default.
        datasets: Names of the training data, for the card.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
        ValueError: If its tensors do not match its configuration, or `aux_head=True` and it has no
            auxiliary head.
        OSError: If the folder cannot be written.
    """
    folder = Path(directory).expanduser()
    place = "local-dir:path/to/this/folder"
    write_folder(folder, _contents(model, place, aux_head, metrics, license, datasets))


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
    """Write a model to a repository of the Hub; create the repository if it does not exist.

    `create_model("hf-hub:owner/name", pretrained=True)` then returns the model to everybody with
    read access. Write access comes from HF_TOKEN or `hf auth login`.

    Args:
        model: The model.
        repo_id: "owner/name".
        aux_head: Whether to save the auxiliary head too, for further training.
        metrics: Results of exactly this model, for the card.
        license: SPDX identifier for the card, which claims no licence by default.
        datasets: Names of the training data, for the card.
        private: Whether a new repository is private; None follows the owner's settings.
        commit_message: Message of the single commit with all files.

    Returns:
        The hash of the commit, which is a revision of the repository.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
        ValueError: If its tensors do not match its configuration, or `aux_head=True` and it has no
            auxiliary head.
        HubError: If the Hub refuses the upload.
    """
    files = _contents(model, f"hf-hub:{repo_id}", aux_head, metrics, license, datasets)
    return hub.upload(repo_id, files, commit_message, private=private)


def spec_of(model: DDRNet) -> ModelSpec:
    """Return the description of a model for inference: logits at full size, no auxiliary head."""
    return ModelSpec(
        architecture=registry.find_model(model.config) or "",
        config=model.config,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        aux_head=False,
        upsample=True,
        classes=model.classes,
        preprocessing=model.preprocessing,
        pretrained=model.pretrained.name if model.pretrained else "",
    )


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each as a whole or not at all; create the folder if needed.

    Raises:
        OSError: If a file cannot be written.
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
    """Return the files of a saved model. `config.json` is written last: it completes a folder."""
    if not isinstance(model, DDRNet):
        raise TypeError(
            f"expected a DDRNet, got {type(model).__name__}; unwrap it first (model.module of "
            "DistributedDataParallel, the model that torch.compile was given)"
        )
    if aux_head and model.aux_head is None:
        raise ValueError("aux_head=True, but the model has no auxiliary head to save")
    spec = replace(spec_of(model), aux_head=aux_head, metrics=tuple(metrics))
    state = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if aux_head or not key.startswith("aux_head.")
    }
    wrong = mismatch(state, expected_tensors(spec), limit=3)
    if wrong:
        raise ValueError(
            "the model's tensors do not match its configuration; a fused or otherwise changed "
            f"model cannot be saved, save the original one: {wrong}"
        )
    card = model_card(spec, place, license=license, datasets=datasets)
    return {
        WEIGHTS_NAME: serialize(state),
        CARD_NAME: card.encode(),
        PREPROCESSOR_NAME: spec.preprocessor_json().encode(),
        CONFIG_NAME: spec.to_json().encode(),
    }
