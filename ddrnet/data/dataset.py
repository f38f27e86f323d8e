"""The base of every data set: reading, transforming and seeding of one sample."""

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
"""What `transforms=` takes: the image and the labels together, as a torchvision v2 transform."""

_LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


class SegmentationDataset(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images with label maps; the random choices of a sample follow from (seed, epoch, index).

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its labels, (H, W), with 255 where
    ignored, both after `transforms`. While a sample is read and transformed, torch's CPU generator
    is seeded from `seed`, the epoch and the index, and put back afterwards: the same samples come
    from any number of workers and after a resume. Transforms that draw from `random` or `numpy`
    should take their seed from `torch.randint`.

    Args:
        classes: The trained classes, in the order of train ids.
        transforms: Called with (`tv_tensors.Image`, `tv_tensors.Mask`); returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` moves an eighth of `int64`.
        seed: Any integer.

    Raises:
        ValueError: If `label_dtype` cannot hold 255 or is no integer type.
    """

    ignore_index = IGNORE_INDEX
    root: str | None = None
    """The folder of the data, where there is one."""
    split: str | None = None
    """The name of the part of the data, where it has parts."""

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
        """The epoch that random choices are made for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose anew in every sample; persistent workers see it, from the next pass on."""
        self._epoch.fill_(epoch)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the whole image, (3, H, W) uint8, and its train ids, (H, W) uint8.

        Both may be views of a memory-mapped file: what is cropped away is never read.
        """

    def read_labels(self, index: int) -> Tensor:
        """Return the train ids alone, (H, W) uint8, as `read` does."""
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
        classes: As in `SegmentationDataset`, like `transforms`, `label_dtype` and `seed`.
        transforms: Called with image and labels; returns the two.
        label_dtype: The integer type of the labels.
        cache_dir: A folder that keeps decoded samples, 4 bytes per pixel: reading a crop then
            touches the rows of that crop only. None decodes each time.
        seed: Any integer.
        root: The folder of the data, for `repr` and reports, like `split`.
        split: The name of the part of the data.

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
                label value is of no class.
        """
        if self._cache is None:
            return read_sample(self.samples[index])
        return self._cache.read(index)

    def read_labels(self, index: int) -> Tensor:
        """Return the train ids alone, (H, W) uint8; without a cache the image is not decoded."""
        return read_labels(self.samples[index]) if self._cache is None else self.read(index)[1]


@contextmanager
def _seeded(*key: int) -> Iterator[None]:
    """Seed the CPU's default generator from `key` and put its state back afterwards.

    `torch.manual_seed` would seed the accelerators too, and a worker must not touch them.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest, "little"))
        yield


def iterate(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of a `DataLoader`; errors of its worker processes keep their plain message.

    torch raises what a worker raised with the text of the worker's traceback as the message.

    Raises:
        DatasetError: If a sample cannot be read.
    """
    try:
        yield from loader
    except DatasetError as error:
        _, _, message = str(error).rpartition(f"\n{DatasetError.__module__}.DatasetError: ")
        raise DatasetError(message.rstrip("\n")) from error
