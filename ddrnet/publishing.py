"""Mirrors of registered checkpoints on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import safe_open

from ddrnet.files import StrPath
from ddrnet.pretrained import hub
from ddrnet.pretrained.card import model_card
from ddrnet.pretrained.fetch import fetch_original, row_spec
from ddrnet.pretrained.saved_model import CONFIG_NAME, WEIGHTS_NAME
from ddrnet.pretrained.saving import CARD_NAME, PREPROCESSOR_NAME, write_folder
from ddrnet.weights.row import HubFile, WeightsRow


def mirror_files(row: WeightsRow, repo: str, cache_dir: StrPath | None = None) -> dict[str, bytes]:
    """Return the files of a row's mirror on the Hub; every call returns the same bytes.

    Args:
        row: A row of the weights table. Its weights are fetched from the original publisher.
        repo: "owner/name" of the mirror, for the model card.
        cache_dir: Replaces this library's cache.

    Raises:
        WeightsUnavailableError: If the weights cannot be fetched.
    """
    weights = fetch_original(row, cache_dir)
    with safe_open(weights, "pt") as tensors:
        has_aux_head = any(key.startswith("aux_head.") for key in tensors.keys())  # noqa: SIM118
    spec = row_spec(row, aux_head=has_aux_head)
    place = f"hf-hub:{repo}" if row.task == "segmentation" else row.name
    card = model_card(spec, place, license=row.license, datasets=[row.data], row=row)
    return {
        WEIGHTS_NAME: weights.read_bytes(),
        CARD_NAME: card.encode(),
        PREPROCESSOR_NAME: spec.preprocessor_json().encode(),
        CONFIG_NAME: spec.to_json().encode(),
    }


def write_mirror(row: WeightsRow, files: dict[str, bytes], directory: StrPath) -> Path:
    """Write the files of a mirror into a new folder inside `directory`; return that folder."""
    folder = Path(directory).expanduser() / row.name
    write_folder(folder, files)
    return folder


def upload_mirror(row: WeightsRow, files: dict[str, bytes], organisation: str) -> HubFile:
    """Upload the files of a mirror; return the source that belongs first in the row.

    Raises:
        HubError: If the Hub refuses the upload.
    """
    repo = mirror_repo(row, organisation)
    revision = hub.upload(repo, files, f"Convert {row.name}")
    content = files[WEIGHTS_NAME]
    return HubFile(repo, revision, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def mirror_repo(row: WeightsRow, organisation: str) -> str:
    """Return the repository in which `create_model` looks if DDRNET_HUB_ORG is set."""
    return f"{organisation}/{row.name}"
