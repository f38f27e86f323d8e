"""Own data: a folder of images and a folder of label files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

import torch

from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.trees import Scan, paired
from ddrnet.errors import DatasetError
from ddrnet.files import StrPath
from ddrnet.labels import ClassLabel, Color, LabelTable, label_table

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""Suffixes of image files, in lower case; files with another suffix are skipped."""

_HINT = (
    "ignore_values=(VALUE,) ignores a value, ClassLabel(NAME, COLOR, id=VALUE) makes a class of it"
)
"""Ends the error about an unknown value where the classes were given in Python."""


class SegmentationFolder(FileDataset):
    """A folder of images and a folder of label files with the same names, subfolders included.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its train ids, (H, W), with 255 where
    ignored. A grey or palette label file holds the number of a class at each pixel, or 255 where
    ignored. An RGB label file holds the colours of the classes. Every value is checked when read.
    `ddrnet.data.open_dataset` opens such data together with its `classes.txt`.

    Args:
        images: The folder of images: PNG, JPEG, WebP, BMP or TIFF.
        labels: The folder of label files, which may be the same one if `label_suffix` is given.
        class_names: Names, numbered 0, 1, 2, ...; or a mapping of names to colours; or `ClassLabel`
            rows; or a `LabelTable`. The `id` of a row is its value in grey and palette files (in a
            binary mask of 0 and 255 the second row has `id=255`), and `color` its colour in RGB
            files. Rows with `train_id=255` are ignored.
        ignore_values: Further values of label files that are ignored, such as 4 for "unlabelled".
        label_suffix: Follows the name of the image in the name of its label file: "_L" if the
            labels of `NAME.jpg` are `NAME_L.png`.
        names: The samples to take, each a path below `images` without file extension; all by
            default.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` moves an eighth of `int64`.
        cache_dir: A folder that keeps decoded samples, 4 bytes per pixel.
        seed: The seed of every random choice, with the epoch and the index.
        split: The name of these samples, for `repr` and reports.

    Raises:
        ValueError: If the classes contradict each other.
        DatasetError: If a folder is missing or empty, an image or a label file lacks its
            counterpart, or one of `names` is missing; when read, if a value belongs to no class.
            The message names the file and the values.
    """

    def __init__(
        self,
        images: StrPath,
        labels: StrPath,
        class_names: Iterable[str | ClassLabel] | Mapping[str, Color] | LabelTable,
        *,
        ignore_values: Iterable[int] = (),
        label_suffix: str = "",
        names: Iterable[str] | None = None,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        cache_dir: StrPath | None = None,
        seed: int = 0,
        split: str | None = None,
    ) -> None:
        if isinstance(class_names, LabelTable):
            values = {*class_names.ignore_values, *ignore_values}
            table = replace(class_names, ignore_values=tuple(sorted(values)))
        else:
            table = label_table(class_names, ignore_values=ignore_values, hint=_HINT)
        scan = scan_folders(Path(images), Path(labels), label_suffix, table, names)
        super().__init__(
            scan.complete_samples(
                f"split {split!r} of images with labels" if split else "set of images with labels",
                Path(images),
            ),
            table.classes,
            transforms=transforms,
            label_dtype=label_dtype,
            cache_dir=cache_dir,
            seed=seed,
            root=images,
            split=split,
        )


def scan_folders(
    images: Path,
    labels: Path,
    label_suffix: str,
    table: LabelTable,
    names: Iterable[str] | None = None,
) -> Scan:
    """Pair the images and label files of two folders.

    Args:
        images: The folder of images.
        labels: The folder of label files.
        label_suffix: Follows the name of the image in the name of its label file.
        table: The classes of the label files.
        names: The names of the samples to take; all by default.

    Raises:
        DatasetError: If two files differ only in their extensions.
    """
    label_files = _files(labels, label_suffix)
    image_files = _files(images, "")
    if label_suffix and images.absolute() == labels.absolute():
        image_files = {n: p for n, p in image_files.items() if p not in label_files.values()}
    problems = [
        f"no image files in {folder}"
        for folder, files in ((labels, label_files), (images, image_files))
        if not files
    ]
    if names is not None:
        wanted = list(names)
        if not wanted:
            problems.append("the list of the split names no image")
        problems += [
            f"{images / name} is listed and missing" for name in wanted if name not in image_files
        ]
        image_files, label_files = (
            {name: files[name] for name in wanted if name in files}
            for files in (image_files, label_files)
        )
    samples, lonely = paired(image_files, label_files, table)
    expected = f"{images}/NAME.png (or another image format)", f"{labels}/NAME{label_suffix}.png"
    return Scan(samples, (*problems, *lonely), expected)


def is_image_file(path: PurePath) -> bool:
    """Return whether a file has an image's suffix and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Return image files by their path below `folder`, without `suffix` and file extension."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not is_image_file(path) or not path.stem.endswith(suffix):
            continue
        name = (path.relative_to(folder).parent / path.stem.removesuffix(suffix)).as_posix()
        if name in files:
            raise DatasetError(f"{files[name]} and {path} differ only in their extensions")
        files[name] = path
    return files
