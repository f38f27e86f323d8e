"""Checkpoint files of any format in, tensors by name out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ddrnet.checkpoints.containers import LEGACY_MAGIC, ZIP_MAGIC
from ddrnet.checkpoints.pickles import StandIn, load_pickled, refuse_plain_pickle
from ddrnet.errors import CheckpointError
from ddrnet.files import StrPath

WRAPPERS = (
    "ema_net",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "ema",
    "net",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "network",
    "weights",
)
"""Entries of training dictionaries that hold the network, averaged weights first.

mmengine's `ema_state_dict` is missing on purpose: next to it, `state_dict` holds the averaged
weights.
"""

_HEAD = 512
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
_DEPTH = 4  # nested dictionaries; a pickle may hold a dictionary that contains itself
_LONGEST_KEY = 512  # characters; the patterns below take quadratic time
_PREFIXES = re.compile(r"^(?:(?:module|model|net|network)\.)+")
_INSERTED = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Key parts that torch adds for compiled, sharded or recomputed parts of a network."""

_NOT_THE_NETWORK = re.compile(r"\w*(?:loss|criterion)\w*\.|n_averaged$", re.IGNORECASE)

_OTHER_FORMATS = (
    (
        rb"\s*<(!doctype|html|head|\?xml)",
        "a web page: the download ended at a quota, permission or log-in page, fetch it again",
    ),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (rb"\x08[\x01-\x20][\x12\x1a\x3a\x42]", "an ONNX model: pass the checkpoint it was made from"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd", "compressed: unpack it first"),
    (rb"\x89HDF", "an HDF5 file: save the state dict with torch.save or as safetensors"),
    (rb"(?s).{257}ustar", "a tar archive: unpack it if the checkpoint is inside"),
    (rb"[\t\n\r -~]+$", "a text file"),
)
"""Patterns of the first bytes of other formats, and the text of the error about each."""


def read_state_dict(path: StrPath) -> dict[str, Tensor]:
    """Read the network's tensors from a checkpoint file without running any code in it.

    The content decides the format, not the extension: safetensors, or torch's zip or legacy
    format, read with `weights_only=True`. Objects of foreign classes are skipped. A training
    dictionary is searched for the network, averaged weights first. Prefixes such as `module.` and
    `model.` are removed, and tensors of the loss are dropped.

    Args:
        path: The file.

    Returns:
        Tensors on the CPU with the file's dtypes, under the names of their family.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged or holds something else; the message names it.
        UnsafeCheckpointError: If it is a pickle that names code torch refuses to load.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise CheckpointError(
            f"{file} is a folder: pass the file inside, or name the model 'local-dir:{file}' if "
            "ddrnet.save_pretrained wrote it"
        )
    if not file.exists():
        raise FileNotFoundError(f"there is no checkpoint {file}")
    if not file.is_file():
        raise CheckpointError(f"{file} is no regular file but a pipe, socket or device")
    content = _read(file)
    try:
        return unwrap(content)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None


def unwrap(content: object) -> dict[str, Tensor]:
    """Return the network's tensors, with the prefixes of wrapping modules removed from the names.

    Args:
        content: A state dict, or a training dictionary that contains one.

    Raises:
        CheckpointError: If there are no tensors, or two with the same name.
    """
    network = _find_network(content, _DEPTH)
    state: dict[str, Tensor] = {}
    for key, value in dict.items(network) if network else ():
        if not isinstance(key, str) or not _is_dense(value):
            continue
        if len(key) > _LONGEST_KEY:
            raise CheckpointError(f"the name {key[:80]!r}... has {len(key)} characters")
        name = _PREFIXES.sub("", _INSERTED.sub("", key))
        if _NOT_THE_NETWORK.match(name):
            continue
        if name in state:
            raise CheckpointError(f"the checkpoint holds {name} twice, under different prefixes")
        tensor = Tensor.detach(value)  # a pickle can set attributes, of dictionaries too
        # A view would keep its whole storage alive.
        is_whole = tensor.untyped_storage().nbytes() == tensor.nbytes
        state[name] = tensor if is_whole else tensor.clone()
    if not state:
        raise CheckpointError(_describe_other(content))
    return state


def _read(file: Path) -> object:
    """Read a file in the format that its first bytes name."""
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER:
        try:
            return load_file(file, device="cpu")
        except (SafetensorError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{file} is damaged or incomplete ({error}): fetch or save it again"
            ) from error
    if head.startswith(ZIP_MAGIC) or LEGACY_MAGIC in head[:32]:
        return load_pickled(file)
    if head.startswith(b"\x80"):
        refuse_plain_pickle(file)
    if not head:
        raise CheckpointError(f"{file} is empty: fetch or save it again")
    for pattern, name in _OTHER_FORMATS:
        if re.match(pattern, head, re.IGNORECASE):
            raise CheckpointError(f"{file} is {name}")
    raise CheckpointError(f"{file} has no known format; it begins with {head[:16]!r}")


def _find_network(content: object, depth: int) -> dict[object, object] | None:
    """Return the innermost dictionary that holds the network's tensors."""
    if not isinstance(content, dict) or depth == 0:
        return None
    for name in WRAPPERS:
        inner = _find_network(dict.get(content, name), depth - 1)
        if inner is not None:
            return inner
    return content if any(map(_is_dense, dict.values(content))) else None


def _is_dense(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _describe_other(content: object) -> str:
    """Describe a checkpoint without tensors, and say what to do."""
    inside = [content]
    if isinstance(content, dict):
        inside = [dict.get(content, name) for name in WRAPPERS]
    for value in inside:
        if isinstance(value, StandIn):
            return (
                f"the checkpoint holds a pickled {type(value).__name__}, not its tensors: load it "
                "where it was made and save its state_dict()"
            )
    if not isinstance(content, dict):
        return f"the checkpoint holds a {type(content).__name__}, not tensors by name"
    named = [(key, value) for key, value in dict.items(content) if isinstance(key, str)]
    entries = ", ".join(f"{key[:80]} ({type(value).__name__})" for key, value in named[:50])
    return (
        f"the checkpoint holds no tensors, neither directly nor in {', '.join(WRAPPERS)}; its "
        f"entries: {entries or 'none'}"
    )
