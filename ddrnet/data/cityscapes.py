"""Cityscapes, read as it is downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch

from ddrnet.data import decoding
from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.samples import Sample
from ddrnet.data.trees import Scan, paired
from ddrnet.labels import CITYSCAPES, LabelTable

Split = Literal["train", "val", "trainval", "test", "train_extra"]
Annotations = Literal["fine", "coarse"]

_TRAIN_IDS = LabelTable(
    "Cityscapes train ids", tuple(replace(row, id=row.train_id) for row in CITYSCAPES.classes)
)
_IMAGE_SUFFIX = "_leftImg8bit.png"


class Cityscapes(FileDataset):
    """The 19 classes of Cityscapes, from the unpacked downloads as they are.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its train ids, (H, W), with 255 where
    ignored. Labels come from `*_labelIds.png`, mapped in memory, or else from
    `*_labelTrainIds.png`. The split `test` has no public labels: all are 255. Any number of cities
    and images of any size will do.

    Args:
        root: The folder that holds `leftImg8bit` and `gtFine` or `gtCoarse`.
        split: `trainval` is `train` and `val`; `train_extra` has coarse annotations only.
        annotations: `fine` unless given, `coarse` for `train_extra`.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` moves an eighth of `int64`.
        cache_dir: A folder that keeps decoded samples: 25 GB for `train`.
        seed: With the epoch and the index, what every random choice follows from.

    Raises:
        ValueError: If there is no such split, or it has no such annotations.
        DatasetError: If folders are missing, an image has no labels or labels have no image: the
            message shows the tree expected and what was found.
    """

    def __init__(
        self,
        root: decoding.Path,
        split: Split = "train",
        *,
        annotations: Annotations | None = None,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        cache_dir: decoding.Path | None = None,
        seed: int = 0,
    ) -> None:
        scan = scan_cityscapes(Path(root), split, annotations)
        super().__init__(
            scan.complete_samples(f"Cityscapes split {split!r}", Path(root)),
            CITYSCAPES.classes,
            transforms=transforms,
            label_dtype=label_dtype,
            cache_dir=cache_dir,
            seed=seed,
        )


def scan_cityscapes(root: Path, split: Split, annotations: Annotations | None = None) -> Scan:
    """Return the samples of a split and what is missing.

    Raises:
        ValueError: If there is no such split, or it has no such annotations.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, got {split!r}")
    annotations = annotations or ("coarse" if split == "train_extra" else "fine")
    if annotations not in get_args(Annotations) or (split, annotations) in {
        ("train_extra", "fine"),
        ("test", "coarse"),
    }:
        raise ValueError(f"Cityscapes has no {annotations!r} annotations of split {split!r}")
    if split == "trainval":
        return _scan(root, "train", annotations) + _scan(root, "val", annotations)
    return _scan(root, split, annotations)


def _scan(root: Path, folder: str, annotations: Annotations) -> Scan:
    gt = f"gt{annotations.capitalize()}"
    expected = [f"leftImg8bit/{folder}/CITY/CITY_000000_000000{_IMAGE_SUFFIX}"]
    images = _files(root / "leftImg8bit" / folder, _IMAGE_SUFFIX)
    if folder == "test":
        samples = tuple(Sample(name, path, None, CITYSCAPES) for name, path in images.items())
        problems: tuple[str, ...] = ()
    else:
        expected.append(
            f"{gt}/{folder}/CITY/CITY_000000_000000_{gt}_labelIds.png (or _labelTrainIds.png)"
        )
        samples, problems = _labelled(images, root / gt / folder, gt)
    if not images:
        problems = (f"no images in {root / 'leftImg8bit' / folder}", *problems)
    return Scan(samples, problems, tuple(expected))


def _labelled(
    images: dict[str, Path], labels: Path, gt: str
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    ids = _files(labels, f"_{gt}_labelIds.png")
    train_ids = _files(labels, f"_{gt}_labelTrainIds.png")
    if not ids and not train_ids:
        return (), (f"no labels in {labels}",)
    samples, problems = paired(images, train_ids | ids, CITYSCAPES)
    return tuple(
        sample if sample.name in ids else sample._replace(table=_TRAIN_IDS) for sample in samples
    ), problems


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the files of every city by the name they share with their other files."""
    return {path.name.removesuffix(suffix): path for path in sorted(folder.glob(f"*/*{suffix}"))}
