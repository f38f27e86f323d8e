"""Opens data sets, recognised by their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ddrnet.data import camvid, cityscapes
from ddrnet.data.camvid import CamVid
from ddrnet.data.cityscapes import Cityscapes
from ddrnet.data.class_list import CLASS_LIST
from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.folder import SegmentationFolder, scan_folders
from ddrnet.data.own_data import OwnData
from ddrnet.data.trees import Scan
from ddrnet.files import StrPath
from ddrnet.labels import ClassLabel

DatasetKind = Literal["cityscapes", "camvid", "folder"]

_MARKS: dict[DatasetKind, tuple[str, ...]] = {
    "cityscapes": ("leftImg8bit",),
    "folder": ("images",),
    "camvid": (camvid.RAW_IMAGES, camvid.RAW_LABELS, "train.txt", "val.txt", "test.txt"),
}
"""Entries that identify each kind; one is enough, and the first matching kind wins."""

_EXPECTED = (
    "leftImg8bit/val/CITY/CITY_000000_000000_leftImg8bit.png (Cityscapes)",
    "val.txt, val/NAME.png, valannot/NAME.png (CamVid)",
    f"{camvid.RAW_IMAGES}/NAME.png, {camvid.RAW_LABELS}/NAME_L.png (CamVid)",
    f"{CLASS_LIST}, images/NAME.jpg, labels/NAME.png, or images/val/..., labels/val/... (folder)",
)


def open_dataset(
    root: StrPath,
    kind: DatasetKind | None = None,
    split: str | None = None,
    *,
    class_names: Sequence[str | ClassLabel] | None = None,
    val_fraction: float | None = None,
    transforms: Transforms | None = None,
    label_dtype: torch.dtype = torch.int64,
    cache_dir: StrPath | None = None,
    seed: int = 0,
) -> FileDataset:
    """Open a folder of Cityscapes, CamVid or own data.

    Own data is a folder with `classes.txt` (see `ddrnet.data.class_list`), `images` and `labels`
    (or `masks`, or `annotations`). An image and its label file have the same name. The splits are
    the folders `images/SPLIT` and `labels/SPLIT`, or lists `SPLIT.txt` with the name of an image
    on each line. Without either, `val_fraction` draws the splits `train` and `val`.

    Args:
        root: The folder.
        kind: The kind of data set; recognised by the folder's entries by default.
        split: The part to open; by default `val`, or all images of own data without splits.
        class_names: The classes of own data without `classes.txt`; their positions are the values
            in the label files.
        val_fraction: The share of `val` in own data without splits, 0-1. The names of the images
            and `seed` decide which images belong to it.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels.
        cache_dir: A folder that keeps decoded samples.
        seed: The seed of every random choice.

    Raises:
        ValueError: If the kind or the split does not exist, own data has splits but no `val` and
            `split` is not given, or `val_fraction` contradicts the splits.
        DatasetError: If the folder holds no known data set, or an incomplete one.
    """
    folder = Path(root).expanduser()
    if kind is not None and kind not in get_args(DatasetKind):
        raise ValueError(f"kind must be one of {get_args(DatasetKind)}, got {kind!r}")
    kind = kind or recognise(folder)
    options: dict[str, Any] = {
        "transforms": transforms,
        "label_dtype": label_dtype,
        "cache_dir": cache_dir,
        "seed": seed,
    }
    if kind == "folder":
        own = OwnData(folder)
        split = own.default_split(val_fraction) if split is None else split
        images, labels, names = own.select(split, val_fraction, seed)
        table = own.table(class_names)
        return SegmentationFolder(images, labels, table, names=names, split=split, **options)
    if val_fraction is not None:
        raise ValueError(f"val_fraction divides own data; {folder} is {kind}, which has splits")
    dataset: type[Cityscapes | CamVid] = Cityscapes if kind == "cityscapes" else CamVid
    return dataset(folder, split or "val", **options)  # type: ignore[arg-type]  # it checks the name


def recognise(root: StrPath) -> DatasetKind:
    """Return the kind of data set in a folder.

    Raises:
        DatasetError: If the kind is unknown; the message shows the known layouts.
    """
    folder = Path(root).expanduser()
    for kind, marks in _MARKS.items():
        if any((folder / mark).exists() for mark in marks):
            return kind
    raise Scan((), ("no known layout",), _EXPECTED).error("data set", folder)


def scan_every_split(root: StrPath) -> dict[str, Scan]:
    """Return the samples and the problems of every split of a data set.

    Raises:
        DatasetError: If the folder holds no known data set or no split, or `classes.txt` is
            missing.
    """
    folder = Path(root).expanduser()
    kind = recognise(folder)
    if kind == "cityscapes":
        if found := cityscapes.scan_every_split(folder):
            return found
        raise Scan((), ("leftImg8bit has no split",), _EXPECTED[:1]).error("data set", folder)
    if kind == "camvid":
        return camvid.scan_every_split(folder)
    own = OwnData(folder)
    table = own.table()
    scans = {}
    for split in own.splits or (None,):
        images, labels, names = own.select(split)
        scans[split or "all"] = scan_folders(images, labels, "", table, names)
    return scans
