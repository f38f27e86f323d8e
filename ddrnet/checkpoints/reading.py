"""Checkpoint files of any format in, tensors by name out."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ddrnet.checkpoints.pickles import LEGACY_MAGIC, ZIP_MAGIC, load_pickled, refuse_plain_pickle
from ddrnet.checkpoints.unwrapping import unwrap
from ddrnet.errors import CheckpointError

_HEAD = 512
_LARGEST_HEADER = 100_000_000  # bytes, as the safetensors format lays down

_STRANGERS = (
    (
        rb"\s*<(!doctype|html|head|\?xml)",
        "a web page: the download ended at a quota, permission or log-in page, fetch it again",
    ),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file it stands for: `git lfs pull`"),
    (rb"\x08[\x01-\x20][\x12\x1a\x3a\x42]", "an ONNX model: give the checkpoint it was made from"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd", "compressed: unpack it first"),
    (rb"\x89HDF", "an HDF5 file: save the state dict with torch.save or as safetensors"),
    (rb"(?s).{257}ustar", "a tar archive: unpack it if the checkpoint is inside"),
    (rb"[\t\n\r -~]+$", "a text file"),
)


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the network's tensors from a checkpoint file, running nothing of it.

    The content decides the format, not the extension: safetensors, or torch's zip or legacy
    format, read with `weights_only=True`; objects of foreign classes beside the tensors are
    skipped. In a training dictionary the network is looked for, averaged weights first; prefixes
    such as `module.` and `model.`, and the tensors of the loss, are dropped.

    Args:
        path: The file.

    Returns:
        Tensors on the CPU, of the file's dtypes, under the names that their family gave them.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged or holds something else; the message says what.
        UnsafeCheckpointError: If it is a pickle that names code torch refuses to load.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise CheckpointError(
            f"{file} is a folder: give the file inside, or name the model 'local-dir:{file}' if "
            "ddrnet.save_pretrained wrote it"
        )
    if not file.exists():
        raise FileNotFoundError(f"there is no checkpoint {file}")
    content = _read(file)
    try:
        return unwrap(content)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None


def _read(file: Path) -> object:
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if _is_safetensors(head):
        return _read_safetensors(file)
    if head.startswith(ZIP_MAGIC) or LEGACY_MAGIC in head[:32]:
        return load_pickled(file)
    if head.startswith(b"\x80"):
        refuse_plain_pickle(file)
    raise CheckpointError(f"{file} is {_name_stranger(head)}")


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER


def _read_safetensors(file: Path) -> object:
    try:
        return load_file(file, device="cpu")
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is damaged or incomplete ({error}): fetch or save it again"
        ) from error


def _name_stranger(head: bytes) -> str:
    if not head:
        return "empty: fetch or save it again"
    for pattern, name in _STRANGERS:
        if re.match(pattern, head, re.IGNORECASE):
            return name
    return f"of no known format; it begins with {head[:16]!r}"
