"""Base classes of data sets: read, transform and seed one sample."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ddrnet.data.cache import DecodedCache
from ddrnet.data.samples import Sample, read_labels, read_sample
from ddrnet.errors import DatasetError
from ddrnet.files import StrPath
from ddrnet.labels import IGNORE_INDEX, ClassLabel

Batch = TypeVar("Batch")

Transforms = Callable[[tv_tensors.Image, tv_tensors.Mask], tuple[Tensor, Tensor]]
"""A function of image and labels that returns both, such as a torchvision v2 transform."""

_LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


class SegmentationDataset(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images with label maps; (seed, epoch, index) determine the random choices of a sample.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its labels, (H, W), with 255 where
    ignored, both after `transforms`. While a sample is read and transformed, torch's CPU generator
    is seeded from `seed`, the epoch and the index; its state is restored afterwards. So samples do
    not depend on the number of workers or on a resume. Transforms that draw from `random` or
    `numpy` should take their seed from `torch.randint`.

    Args:
        classes: The trained classes, in the order of train ids.
        transforms: Called with (`tv_tensors.Image`, `tv_tensors.Mask`); returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` takes an eighth of `int64`.
        seed: Any integer.

    Raises:
        ValueError: If `label_dtype` is not an integer type or cannot hold 255.
    """

    ignore_index = IGNORE_INDEX
    root: str | None = None
    """The folder of the data; None for data without files."""
    split: str | None = None
    """The name of the split; None for data without splits."""

    def __init__(
        self,
        classes: Iterable[ClassLabel],
        *,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        seed: int = 0,
    ) -> None:
        if label_dtype not in _LABEL_DTYPES:
            raise ValueError(f"label_dtype must be one of {_LABEL_DTYPES}, got {label_dtype}")
        self.classes = tuple(classes)
        self.transforms = transforms
        self.label_dtype = label_dtype
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def __repr__(self) -> str:
        place = {"root": self.root, "split": self.split}
        given = [f"{name}={value!r}" for name, value in place.items() if value is not None]
        counts = [f"images={len(self)}", f"classes={len(self.classes)}"]
        return f"{type(self).__name__}({', '.join([*given, *counts])})"

    @property
    def epoch(self) -> int:
        """The epoch of the random choices."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Change the random choices; persistent workers follow from their next pass on."""
        self._epoch.fill_(epoch)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the whole image, (3, H, W) uint8, and its train ids, (H, W) uint8.

        Both may be views of a memory-mapped file: pixels outside a crop are never read.
        """

    def read_labels(self, index: int) -> Tensor:
        """Return the train ids of `read` alone, (H, W) uint8."""
        return self.read(index)[1]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        index = range(len(self))[index]
        with _seeded(self.seed, self.epoch, index):
            image, labels = self.read(index)
            if self.transforms is not None:
                image, labels = self.transforms(tv_tensors.Image(image), tv_tensors.Mask(labels))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor).to(self.label_dtype)


class FileDataset(SegmentationDataset):
    """A data set of image and label files.

    Args:
        samples: The files.
        classes: The trained classes, in the order of train ids.
        transforms: Called with image and labels; returns the two.
        label_dtype: The integer type of the labels.
        cache_dir: A folder that keeps decoded samples, 4 bytes per pixel, so that a crop reads
            only its own rows. None decodes each time.
        seed: Any integer.
        root: The folder of the data, for `repr` and reports.
        split: The name of the split, for `repr` and reports.

    Raises:
        DatasetError: If the disk of `cache_dir` cannot hold the samples.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Iterable[ClassLabel],
        *,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        cache_dir: StrPath | None = None,
        seed: int = 0,
        root: StrPath | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(classes, transforms=transforms, label_dtype=label_dtype, seed=seed)
        self.samples = tuple(samples)
        self.root = None if root is None else os.fspath(root)
        self.split = split
        self._cache = None if cache_dir is None else DecodedCache(cache_dir, self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the whole image, (3, H, W) uint8, and its train ids, (H, W) uint8.

        Raises:
            DatasetError: If a file is missing or unreadable, image and labels differ in size, or a
                label value belongs to no class.
        """
        if self._cache is None:
            return read_sample(self.samples[index])
        return self._cache.read(index)

    def read_labels(self, index: int) -> Tensor:
        """Return the train ids alone, (H, W) uint8; without a cache the image is not decoded."""
        return read_labels(self.samples[index]) if self._cache is None else self.read(index)[1]


@contextmanager
def _seeded(*key: int) -> Iterator[None]:
    """Seed the CPU's default generator from `key`; restore its state afterwards.

    `torch.manual_seed` would also seed the accelerators, which a worker must not touch.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest, "little"))
        yield


def iterate(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of a `DataLoader`; errors keep the plain messages of the worker processes.

    torch puts the text of the worker's traceback into the message.

    Raises:
        DatasetError: If a sample cannot be read.
    """
    try:
        yield from loader
    except DatasetError as error:
        _, _, message = str(error).rpartition(f"\n{DatasetError.__module__}.DatasetError: ")
        raise DatasetError(message.rstrip("\n")) from error
