"""Cityscapes in the folders of its downloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch

from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.samples import Sample
from ddrnet.data.trees import Scan, paired
from ddrnet.files import StrPath
from ddrnet.labels import CITYSCAPES, LabelTable

Split = Literal["train", "val", "trainval", "test", "train_extra"]
Annotations = Literal["fine", "coarse"]

_TRAIN_IDS = LabelTable(
    "Cityscapes train ids", tuple(replace(row, id=row.train_id) for row in CITYSCAPES.classes)
)
_IMAGES, _IMAGE_SUFFIX = "leftImg8bit", "_leftImg8bit.png"
_KINDS = (
    ("train", "fine"),
    ("val", "fine"),
    ("test", "fine"),
    ("train", "coarse"),
    ("val", "coarse"),
    ("train_extra", "coarse"),
)
"""The existing pairs of split and kind of annotation."""


class Cityscapes(FileDataset):
    """The 19 classes of Cityscapes, read from the unpacked downloads.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its train ids, (H, W), with 255 where
    ignored. Labels come from `*_labelIds.png`, mapped in memory, or else from
    `*_labelTrainIds.png`. The split `test` has no public labels: all its labels are 255. The number
    of cities and the sizes of images are free.

    Args:
        root: The folder that holds `leftImg8bit` and `gtFine` or `gtCoarse`.
        split: `trainval` joins `train` and `val`; `train_extra` has coarse annotations only.
        annotations: `fine` by default, `coarse` for `train_extra`.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` moves an eighth of `int64`.
        cache_dir: A folder that keeps decoded samples: 25 GB for `train`.
        seed: Determines every random choice, together with the epoch and the index.

    Raises:
        ValueError: If the split does not exist, or lacks these annotations.
        DatasetError: If a folder is missing, or an image or a label file lacks its counterpart;
            the message shows the expected tree and the files found.
    """

    def __init__(
        self,
        root: StrPath,
        split: Split = "train",
        *,
        annotations: Annotations | None = None,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        cache_dir: StrPath | None = None,
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
            root=root,
            split=split,
        )


def scan_cityscapes(root: Path, split: Split, annotations: Annotations | None = None) -> Scan:
    """Return the samples and the problems of a split.

    Raises:
        ValueError: If the split does not exist, or lacks these annotations.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, got {split!r}")
    if split == "trainval":
        return scan_cityscapes(root, "train", annotations) + scan_cityscapes(
            root, "val", annotations
        )
    kind = split, annotations or _usual_annotations(split)
    if kind not in _KINDS:
        raise ValueError(f"Cityscapes has no {annotations!r} annotations of split {split!r}")
    return _scan(root, *kind)


def scan_every_split(root: Path) -> dict[str, Scan]:
    """Scan each pair of split and kind of annotation that has a folder."""
    return {
        f"{split}, {annotations}": _scan(root, split, annotations)
        for split, annotations in _KINDS
        if (split != "test" and (root / _gt(annotations) / split).is_dir())
        or (annotations == _usual_annotations(split) and (root / _IMAGES / split).is_dir())
    }


def _scan(root: Path, split: str, annotations: str) -> Scan:
    folder, gt = root / _IMAGES / split, _gt(annotations)
    images = _files(folder, _IMAGE_SUFFIX)
    lacking = () if images else (f"no images in {folder}",)
    expected = f"{_IMAGES}/{split}/CITY/CITY_000000_000000{_IMAGE_SUFFIX}"
    if split == "test":
        samples = tuple(Sample(name, path, None, CITYSCAPES) for name, path in images.items())
        return Scan(samples, lacking, (expected,))
    ids = _files(root / gt / split, f"_{gt}_labelIds.png")
    train_ids = _files(root / gt / split, f"_{gt}_labelTrainIds.png")
    labels = f"{gt}/{split}/CITY/CITY_000000_000000_{gt}_labelIds.png (or _labelTrainIds.png)"
    if not ids and not train_ids:
        return Scan((), (*lacking, f"no labels in {root / gt / split}"), (expected, labels))
    samples, problems = paired(images, train_ids | ids, CITYSCAPES)
    samples = tuple(s if s.name in ids else s._replace(table=_TRAIN_IDS) for s in samples)
    return Scan(samples, lacking + problems, (expected, labels))


def _usual_annotations(split: str) -> Annotations:
    return "coarse" if split == "train_extra" else "fine"


def _gt(annotations: str) -> str:
    return f"gt{annotations.capitalize()}"


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the files of every city by their names without `suffix`."""
    paths = sorted(folder.glob(f"*/[!.]*{suffix}"))
    return {path.name.removesuffix(suffix): path for path in paths}
