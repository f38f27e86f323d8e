"""Files of `torch.save` checked before torch reads them: the container, its pickles, its tensors.

torch trusts the sizes that a file announces. Before 2.10, a crafted file can make it write outside
of its memory even with `weights_only=True` (CVE-2026-24747).
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from ddrnet.checkpoints.scanning import Scanner
from ddrnet.checkpoints.values import Global, Storage
from ddrnet.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
"""First bytes of files in the current format."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
"""The number in the first pickle of a legacy file. Source: torch.serialization.MAGIC_NUMBER."""

MAX_PICKLE = 64 << 20
"""The most bytes of the pickle in a zip archive; the tensors' data lies beside it."""

_LEGACY_PICKLES = 5  # magic number, version, system, object, storage keys
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., lengths of the name and of extra fields
_COUNT = struct.Struct("<q")

_CLAIM_FACTOR, _CLAIM_FLOOR = 8, 16 << 20
"""All tensors together may be so many times as large as the file, for views of shared storages."""

_ITEM_SIZES = {
    **dict.fromkeys(("Bool", "Byte", "Char", "QInt8", "QUInt8", "QUInt2x4", "QUInt4x2"), 1),
    **dict.fromkeys(("BFloat16", "Half", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("ComplexFloat", "Double", "Long"), 8),
    "ComplexDouble": 16,
    "Untyped": 1,
}
"""Bytes per element of torch's storage classes, by the beginning of their names."""


def scan_file(path: Path) -> Scanner:
    """Scan the pickles of a file and check its storages and tensors against its size.

    Args:
        path: A file of torch.save in the zip or the legacy format, or a plain pickle.

    Raises:
        CheckpointError: If it is another kind of zip archive.
        ValueError: If sizes contradict each other or exceed the limits.
        Exception: What reading a damaged archive or pickle raises.
    """
    scanner = Scanner()
    with path.open("rb") as file:
        head = file.read(32)
        file.seek(0)
        if head.startswith(ZIP_MAGIC):
            sizes = _scan_archive(path, file, scanner)
        elif LEGACY_MAGIC in head:
            sizes = _scan_legacy(file, scanner)
        else:
            scanner.scan(file)
            return scanner
        if not scanner.unsafe:
            _check_tensors(scanner, sizes, os.fstat(file.fileno()).st_size)
    return scanner


def _scan_archive(path: Path, file: BinaryIO, scanner: Scanner) -> dict[str, int]:
    """Scan the pickle of a zip archive; return the bytes of each storage."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        count = len(archive.infolist())
    if any(re.fullmatch(r"[^/]+/constants\.pkl", name) for name in entries):
        raise CheckpointError(
            f"{path} is a TorchScript program; save the state_dict() of the model it was made from"
        )
    data = next((name for name in entries if re.fullmatch(r"[^/]+/data\.pkl", name)), None)
    if data is None:
        raise CheckpointError(
            f"{path} is a zip archive that torch.save did not write; it holds "
            f"{', '.join([*entries][:5]) or 'nothing'}. Unpack it if the checkpoint is inside"
        )
    folder = data.removesuffix("data.pkl")
    if count != len(entries) or not all(name.startswith(folder) for name in entries):
        raise ValueError("the archive holds entries that torch.save does not write")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("the archive is compressed, which torch.save does not do")
    scanner.scan(io.BytesIO(_stored(file, entries[data])))
    prefix = f"{folder}data/"
    return {
        name.removeprefix(prefix): entry.file_size
        for name, entry in entries.items()
        if name.startswith(prefix)
    }


def _stored(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """Return the content of an uncompressed entry; torch can leave its checksum out."""
    if entry.file_size > MAX_PICKLE:
        raise ValueError(f"{entry.filename} is larger than {MAX_PICKLE} bytes")
    file.seek(max(entry.header_offset, 0))  # a crafted directory may place it before the file
    signature, *lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(sum(lengths), os.SEEK_CUR)
    content = file.read(entry.file_size)
    if signature != ZIP_MAGIC or len(content) != entry.file_size:
        raise ValueError(f"{entry.filename} is cut off")
    return content


def _scan_legacy(file: BinaryIO, scanner: Scanner) -> dict[str, int]:
    """Scan the pickles of a legacy file; return the bytes of each storage behind them."""
    *_, keys = [scanner.scan(file) for _ in range(_LEGACY_PICKLES)]
    end = os.fstat(file.fileno()).st_size
    sizes: dict[str, int] = {}
    for key in getattr(keys, "items", ()):
        storage = scanner.storages[key]
        (length,) = _COUNT.unpack(file.read(_COUNT.size))
        sizes[key] = length * _item_size(storage)
        if length < 0 or sizes[key] > end - file.tell():
            raise ValueError(f"the storage {key} is cut off")
        file.seek(sizes[key], os.SEEK_CUR)
    return sizes


def _check_tensors(scanner: Scanner, sizes: Mapping[str, int], file_size: int) -> None:
    """Raise unless every storage has its announced size, and every tensor lies in its storage.

    Raises:
        ValueError: If they do not, or need much more memory than the file has bytes.
    """
    for key, storage in scanner.storages.items():
        announced = storage.length * _item_size(storage)
        if sizes.get(key) != announced:
            raise ValueError(
                f"the storage {key} should have {announced} bytes, the file has {sizes.get(key, 0)}"
            )
    if sum(sizes[key] for key in scanner.storages) > file_size:
        raise ValueError("the storages overlap")
    claimed = 0
    for view in scanner.views:
        width = _dtype_size(view.dtype) if view.dtype else _item_size(view.storage)
        room = view.storage.length * _item_size(view.storage) // width
        count = math.prod(view.size)
        last = sum((n - 1) * step for n, step in zip(view.size, view.stride, strict=True))
        if min((*view.size, *view.stride, view.offset), default=0) < 0:
            raise ValueError("a tensor has a negative size, stride or offset")
        if view.offset + (last + 1 if count else 0) > room:
            raise ValueError(f"a tensor reaches beyond the storage {view.storage.key}")
        claimed += count * width
    if claimed > max(_CLAIM_FACTOR * file_size, _CLAIM_FLOOR):
        raise ValueError(f"the tensors claim {claimed} bytes, the file has {file_size}")


def _item_size(storage: Storage) -> int:
    name = storage.kind.name
    if not name.endswith("Storage") or name.removesuffix("Storage") not in _ITEM_SIZES:
        raise ValueError(f"{name} is no class of storages")
    return _ITEM_SIZES[name.removesuffix("Storage")]


def _dtype_size(dtype: Global) -> int:
    found = getattr(torch, dtype.name, None)
    if dtype.module != "torch" or not isinstance(found, torch.dtype):
        raise ValueError(f"{'.'.join(dtype)} is no element type")
    return found.itemsize
