"""Keeps decoded samples on disk, each in a memory-mapped file that the first read writes.

Files are written atomically: a killed process leaves no half entry. Processes that need the same
entry wait until the first of them has built it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddrnet.data.decoding import image_size
from ddrnet.data.samples import Sample, read_sample
from ddrnet.errors import DatasetError
from ddrnet.files import PARTIAL, StrPath, write_atomically
from ddrnet.labels import LabelTable

_BYTES_PER_PIXEL = 4
"""Three channels and a label."""

_FORMAT = "1"

logger = logging.getLogger(__name__)


class DecodedCache:
    """Memory-mapped images and train ids of a list of samples.

    The paths of a sample's files and its classes identify an entry. It is valid while the files
    keep their sizes and modification times. An entry takes 4 bytes per pixel: 25 GB for the
    training images of Cityscapes.

    Args:
        directory: The folder of the entries, created if absent; data sets may share it.
        samples: The samples.

    Raises:
        DatasetError: If a source file is missing, or the disk cannot hold the missing entries.
    """

    def __init__(self, directory: StrPath, samples: Sequence[Sample]) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._samples = tuple(samples)
        self._entries = tuple(self.directory / _entry_name(sample) for sample in samples)
        self._check_space()

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return (3, H, W) uint8 and (H, W) uint8, mapped copy-on-write: writing changes no file.

        Raises:
            DatasetError: If a source file is missing, or an absent entry cannot be built from it.
            OSError: If the disk is full or read-only.
        """
        entry, sample = self._entries[index], self._samples[index]
        return _mapped(entry, _source_state(sample)) or _built(entry, sample)

    def _check_space(self) -> None:
        missing = [
            sample
            for entry, sample in zip(self._entries, self._samples, strict=True)
            if _mapped(entry, _source_state(sample)) is None
        ]
        try:
            needed = sum(_BYTES_PER_PIXEL * prod(image_size(sample.image)) for sample in missing)
        except (OSError, ValueError) as error:
            raise DatasetError(str(error)) from error
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise DatasetError(
                f"the decoded cache needs {needed / 1e9:.3g} GB more in {self.directory}, "
                f"{len(missing)} samples at {_BYTES_PER_PIXEL} bytes per pixel; {free / 1e9:.3g} "
                f"GB are free: choose a cache_dir on a larger disk, or none"
            )
        if missing:
            logger.info(
                "decoding %d samples into %s as they are read: %.3g GB",
                len(missing), self.directory, needed / 1e9,
            )  # fmt: skip


def _entry_name(sample: Sample) -> str:
    files = sample.image.absolute(), sample.labels and sample.labels.absolute()
    return _digest((*files, _table_digest(sample.table))) + ".safetensors"


@cache
def _table_digest(table: LabelTable) -> str:
    return _digest((table.rows, table.ignore_values))


def _digest(key: object) -> str:
    return hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()


def _source_state(sample: Sample) -> dict[str, str]:
    """Return the state of the files that an entry depends on."""
    try:
        image = sample.image.stat()
        labels = sample.labels.stat() if sample.labels else None
    except OSError as error:
        raise DatasetError(str(error)) from error
    return {
        "format": _FORMAT,
        "image": f"{image.st_size} {image.st_mtime_ns}",
        "labels": f"{labels.st_size} {labels.st_mtime_ns}" if labels else "",
    }


def _mapped(entry: Path, state: dict[str, str]) -> tuple[Tensor, Tensor] | None:
    """Return the image and labels of a valid entry without reading their pixels."""
    try:
        with safe_open(entry, framework="pt") as file:
            if file.metadata() != state:
                return None
            return file.get_tensor("image").permute(2, 0, 1), file.get_tensor("labels")
    except (FileNotFoundError, SafetensorError):
        return None


def _built(entry: Path, sample: Sample) -> tuple[Tensor, Tensor]:
    lock = entry.with_suffix(".lock")
    with FileLock(lock):
        state = _source_state(sample)
        tensors = _mapped(entry, state)
        if tensors is None:
            for leftover in entry.parent.glob(f".{entry.name}.*{PARTIAL}"):  # of a killed process
                leftover.unlink()
            tensors = read_sample(sample)
            _write(entry, tensors, state)
        lock.unlink(missing_ok=True)  # a waiting process finds the entry complete
    return tensors


def _write(entry: Path, tensors: tuple[Tensor, Tensor], state: dict[str, str]) -> None:
    image, labels = tensors
    rows = {"image": image.permute(1, 2, 0).contiguous(), "labels": labels.contiguous()}
    write_atomically(entry, save(rows, state))
