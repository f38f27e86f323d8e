"""Recognises data sets by their folders and opens them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import torch

from ddrnet.data import camvid, cityscapes
from ddrnet.data.camvid import CamVid
from ddrnet.data.cityscapes import Cityscapes
from ddrnet.data.class_list import CLASS_LIST, read_class_list
from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.folder import IMAGE_SUFFIXES, SegmentationFolder, scan_folders
from ddrnet.data.trees import Scan
from ddrnet.errors import DatasetError
from ddrnet.files import StrPath
from ddrnet.labels import ClassLabel, LabelTable, label_table

DatasetKind = Literal["cityscapes", "camvid", "folder"]

LABEL_FOLDERS = ("labels", "masks", "annotations")
"""Names that the folder of label files may have beside `images`."""

_USUAL_SPLITS = ("train", "trainval", "val", "test")
"""Names of lists that are splits unasked; another file NAME.txt may be a readme."""

_MARKS: dict[DatasetKind, tuple[str, ...]] = {
    "cityscapes": ("leftImg8bit",),
    "folder": ("images",),
    "camvid": (camvid.RAW_IMAGES, camvid.RAW_LABELS, "train.txt", "val.txt", "test.txt"),
}
"""Each kind with the entries of its folder, of which one is enough; the first match wins."""

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

    Own data is a folder with `images` and `labels` (or `masks`, or `annotations`), which hold files
    of the same names, and with `classes.txt` (see `ddrnet.data.class_list`). Its splits are the
    folders `images/SPLIT` and `labels/SPLIT`, or lists `SPLIT.txt` that name an image on each line,
    or `train` and `val` drawn by `val_fraction`.

    Args:
        root: The folder.
        kind: What it holds; by default its entries tell.
        split: The part to open: by default `val`, or all of own data that has no split `val`.
        class_names: The classes of own data without `classes.txt`; the values of label files are
            their positions.
        val_fraction: The share of own data without splits that belongs to `val`, 0-1; the names of
            the images and `seed` decide which.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels.
        cache_dir: A folder that keeps decoded samples.
        seed: The seed of every random choice.

    Raises:
        ValueError: If there is no such kind or split, or `val_fraction` contradicts the splits.
        DatasetError: If the folder holds no data set that is known, or an incomplete one.
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
    """Return what kind of data set a folder holds.

    Raises:
        DatasetError: If it is none that is known; the message shows the layouts.
    """
    folder = Path(root)
    for kind, marks in _MARKS.items():
        if any((folder / mark).exists() for mark in marks):
            return kind
    Scan((), ("no layout that is known",), _EXPECTED).complete_samples("data set", folder)
    raise AssertionError("a scan with problems raises")


def scan_every_split(root: StrPath) -> dict[str, Scan]:
    """Return the splits of a data set with the files that each is missing.

    Raises:
        DatasetError: If the folder holds no data set that is known, or `classes.txt` is missing.
    """
    folder = Path(root).expanduser()
    kind = recognise(folder)
    if kind == "cityscapes":
        return cityscapes.scan_every_split(folder)
    if kind == "camvid":
        return camvid.scan_every_split(folder)
    own = OwnData(folder)
    table = own.table()
    if not own.splits:
        return {"all": scan_folders(own.images, own.labels, "", table)}
    selected = {split: own.select(split) for split in own.splits}
    return {
        split: scan_folders(images, labels, "", table, names)
        for split, (images, labels, names) in selected.items()
    }


@dataclass(frozen=True)
class OwnData:
    """The folder of own data.

    Attributes:
        root: The folder that holds `images`, the label files and `classes.txt`.
    """

    root: Path

    @property
    def images(self) -> Path:
        """The folder of images."""
        return self.root / "images"

    @property
    def labels(self) -> Path:
        """The folder of label files.

        Raises:
            DatasetError: If there are several.
        """
        there = [name for name in LABEL_FOLDERS if (self.root / name).is_dir()]
        if len(there) > 1:
            raise DatasetError(
                f"{self.root} has several folders of label files ({', '.join(there)}): keep one, "
                f"or name the folders with ddrnet.data.SegmentationFolder(images, labels, ...)"
            )
        return self.root / (there or LABEL_FOLDERS)[0]

    @property
    def splits(self) -> list[str]:
        """The names of the splits: the folders in `images` and the labels, or else the lists."""
        return self._folders or self._lists

    @property
    def _folders(self) -> list[str]:
        """Subfolders of images and labels alike; none beside images outside of any subfolder."""
        if not self.images.is_dir():
            return []
        entries = list(self.images.iterdir())
        if any(path.suffix.lower() in IMAGE_SUFFIXES for path in entries):
            return []
        named = [path.name for path in entries if (self.labels / path.name).is_dir()]
        return sorted(named) if {"train", "val"} & set(named) else []

    @property
    def _lists(self) -> list[str]:
        return [name for name in _USUAL_SPLITS if (self.root / f"{name}.txt").is_file()]

    def default_split(self, val_fraction: float | None = None) -> str | None:
        """Return `val` where there is one; None stands for all of the data."""
        return "val" if val_fraction is not None or "val" in self.splits else None

    def table(self, class_names: Sequence[str | ClassLabel] | None = None) -> LabelTable:
        """Return the classes that `classes.txt` lists, or else the given ones.

        Raises:
            DatasetError: If there is no `classes.txt`, nor are any given, or it cannot be read.
        """
        path = self.root / CLASS_LIST
        if class_names is None or path.is_file():
            return read_class_list(path)
        return label_table(class_names, hint=f"{path} can say what a value means")

    def select(
        self, split: str | None, val_fraction: float | None = None, seed: int = 0
    ) -> tuple[Path, Path, list[str] | None]:
        """Return the folders of images and labels of a split, and its names where not all.

        Raises:
            ValueError: If there is no such split, or `val_fraction` contradicts the splits.
        """
        if val_fraction is not None:
            return self.images, self.labels, self._drawn(split, val_fraction, seed)
        if split is None:
            return self.images, self.labels, None
        if (self.images / split).is_dir():
            return self.images / split, self.labels / split, None
        path = self.root / f"{split}.txt"
        if path.name == CLASS_LIST or not path.is_file():
            there = f"there are {', '.join(self.splits)}" if self.splits else "it has none"
            raise ValueError(
                f"{self.root} has no split {split!r}; {there}. A split is a folder in images and "
                f"{self.labels.name}, or a list {split}.txt of images; val_fraction (on the "
                "command line --val-fraction X) draws train and val"
            )
        lines = filter(None, map(str.strip, path.read_text(encoding="utf-8-sig").splitlines()))
        return self.images, self.labels, [_listed_name(line) for line in lines]

    def _drawn(self, split: str | None, val_fraction: float, seed: int) -> list[str]:
        """Return the names of `train` or `val`: those with the smallest hashes are `val`."""
        if self.splits:
            raise ValueError(
                f"{self.root} has the splits {', '.join(self.splits)} already: leave out "
                "val_fraction"
            )
        if split not in {"train", "val"} or not 0 < val_fraction < 1:
            raise ValueError(
                f"val_fraction, between 0 and 1, draws the splits train and val; got "
                f"{val_fraction} and the split {split!r}"
            )
        names = [_listed_name(path) for path in _relative_images(self.images)]
        names.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        count = min(max(1, round(val_fraction * len(names))), max(1, len(names) - 1))
        return sorted(names[:count] if split == "val" else names[count:])


def _relative_images(folder: Path) -> Iterable[str]:
    return (
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def _listed_name(text: str) -> str:
    """Return a sample's name from a path below `images`, or below the root, or without ending."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.parts[:1] == ("images",):
        path = path.relative_to("images")
    return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)
