"""Own data: a folder of images and a folder of label files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from ddrnet.data import decoding
from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.trees import Scan, paired
from ddrnet.errors import DatasetError
from ddrnet.labels import ClassLabel, LabelTable, class_labels

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""Files with another ending are passed over."""


class SegmentationFolder(FileDataset):
    """Images and label files of the same names in two folders, subfolders included.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its train ids, (H, W), with 255 where
    ignored. A grey or palette label file holds the number of a class at each pixel, or 255 where
    ignored; an RGB label file holds the colours of the classes. Every value is checked when read.

    Args:
        images: The folder of images: PNG, JPEG, WebP, BMP or TIFF.
        labels: The folder of label files, which may be the same one if `label_suffix` is given.
        class_names: Names, numbered 0, 1, 2, ...; or `ClassLabel` rows, whose `id`, where given,
            is the label file's value and whose `color` an RGB label file's colour (of a binary mask
            of 0 and 255 the second row has `id=255`); or a `LabelTable`, whose rows with
            `train_id=255` are ignored.
        label_suffix: What a label file's name has more than its image's: "_L" for `NAME_L.png`.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` moves an eighth of `int64`.
        cache_dir: A folder that keeps decoded samples, 4 bytes per pixel.
        seed: With the epoch and the index, what every random choice follows from.

    Raises:
        ValueError: If the classes contradict each other.
        DatasetError: If a folder is missing or empty, an image has no labels or labels have no
            image; when read, if a value is of no class: the message names the file and the values.
    """

    def __init__(
        self,
        images: decoding.Path,
        labels: decoding.Path,
        class_names: Iterable[str | ClassLabel] | LabelTable,
        *,
        label_suffix: str = "",
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        cache_dir: decoding.Path | None = None,
        seed: int = 0,
    ) -> None:
        table = (
            class_names
            if isinstance(class_names, LabelTable)
            else LabelTable("class_names", class_labels(class_names))
        )
        scan = _scan(Path(images), Path(labels), label_suffix, table)
        super().__init__(
            scan.complete_samples("images with labels", Path(images)),
            table.classes,
            transforms=transforms,
            label_dtype=label_dtype,
            cache_dir=cache_dir,
            seed=seed,
        )


def _scan(images: Path, labels: Path, label_suffix: str, table: LabelTable) -> Scan:
    label_files = _files(labels, label_suffix)
    image_files = _files(images, "")
    if label_suffix and images.absolute() == labels.absolute():
        image_files = {n: p for n, p in image_files.items() if p not in label_files.values()}
    samples, problems = paired(image_files, label_files, table)
    for folder, files in ((labels, label_files), (images, image_files)):
        if not files:
            problems = (f"no image files in {folder}", *problems)
    expected = f"{images}/NAME.png (or another image format)", f"{labels}/NAME{label_suffix}.png"
    return Scan(samples, problems, expected)


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Return image files by their path below `folder`, without `suffix` and the file's ending."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        is_image = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        if not is_image or not path.stem.endswith(suffix):
            continue
        name = (path.relative_to(folder).parent / path.stem.removesuffix(suffix)).as_posix()
        if name in files:
            raise DatasetError(f"{files[name]} and {path} differ only in their endings")
        files[name] = path
    return files
