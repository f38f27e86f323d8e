"""The layout of own data: `images`, `labels`, `classes.txt` and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ddrnet.data.class_list import CLASS_LIST, read_class_list
from ddrnet.data.folder import IMAGE_SUFFIXES, is_image_file
from ddrnet.errors import DatasetError
from ddrnet.labels import ClassLabel, LabelTable, label_table

LABEL_FOLDERS = ("labels", "masks", "annotations")
"""Possible names of the folder of label files beside `images`."""

_LISTS = ("train", "trainval", "val", "test")
"""Names of lists that count as splits; another file NAME.txt may be a readme."""

_SPLIT_FOLDERS = {*_LISTS, "training", "valid", "validation", "testing"}
"""Folder names, in lower case; if one of them is there, all folders beside it are splits."""


@dataclass(frozen=True)
class OwnData:
    """The folder of own data.

    Attributes:
        root: The folder with `images`, the label files and `classes.txt`.
    """

    root: Path

    @property
    def images(self) -> Path:
        """The folder of images."""
        return self.root / "images"

    @cached_property
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

    @cached_property
    def splits(self) -> list[str]:
        """The names of the splits: folders in `images` or the labels, or else lists.

        Raises:
            DatasetError: If images lie beside the folders of splits.
        """
        parents = [folder for folder in (self.images, self.labels) if folder.is_dir()]
        entries = [path for folder in parents for path in folder.iterdir()]
        folders = {path.name for path in entries if path.is_dir() and path.name[0] != "."}
        if _SPLIT_FOLDERS.isdisjoint(map(str.lower, folders)):
            return [name for name in _LISTS if (self.root / f"{name}.txt").is_file()]
        if stray := [path for path in entries if is_image_file(path)]:
            raise DatasetError(
                f"{stray[0]} lies beside the splits {', '.join(sorted(folders))}: move it into one"
            )
        return sorted(folders)

    def default_split(self, val_fraction: float | None = None) -> str | None:
        """Return `val`; without splits None, which selects all images.

        Raises:
            ValueError: If there are splits, but no `val`.
        """
        if val_fraction is not None or "val" in self.splits:
            return "val"
        if self.splits:
            raise ValueError(
                f"{self.root} has no split 'val', only {', '.join(self.splits)}. Choose one "
                f"with split={self.splits[0]!r} (on the command line --split {self.splits[0]})"
            )
        return None

    def table(self, class_names: Sequence[str | ClassLabel] | None = None) -> LabelTable:
        """Return the classes in `classes.txt`; without that file, the given ones.

        Raises:
            DatasetError: If `classes.txt` cannot be read, or is missing and no classes are given.
        """
        path = self.root / CLASS_LIST
        if class_names is None or path.is_file():
            return read_class_list(path)
        return label_table(class_names, hint=f"{path} can name the class of each value")

    def select(
        self, split: str | None, val_fraction: float | None = None, seed: int = 0
    ) -> tuple[Path, Path, list[str] | None]:
        """Select the files of a split.

        Returns:
            The folder of images, the folder of labels, and the names of the samples in them; None
            selects all samples.

        Raises:
            ValueError: If the split does not exist, `val_fraction` contradicts the splits, or there
                are fewer than two images to divide.
        """
        if val_fraction is not None:
            return self.images, self.labels, self._drawn(split, val_fraction, seed)
        if split is None:
            return self.images, self.labels, None
        if (self.images / split).is_dir() or (self.labels / split).is_dir():
            return self.images / split, self.labels / split, None
        path = self.root / f"{split}.txt"
        if path.name == CLASS_LIST or not path.is_file():
            there = f", only {', '.join(self.splits)}" if self.splits else ""
            raise ValueError(
                f"{self.root} has no split {split!r}{there}. A split is a folder in images and "
                f"{self.labels.name}, or a list {split}.txt of images; val_fraction (on the "
                "command line --val-fraction X) draws train and val"
            )
        lines = filter(None, map(str.strip, path.read_text(encoding="utf-8-sig").splitlines()))
        return self.images, self.labels, [_sample_name(line) for line in lines]

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
        paths = filter(is_image_file, self.images.rglob("*"))
        names = [_sample_name(path.relative_to(self.images).as_posix()) for path in paths]
        if len(names) < 2:
            raise ValueError(
                f"val_fraction divides at least 2 images, {self.images} holds {len(names)}"
            )
        names.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        count = min(max(1, round(val_fraction * len(names))), len(names) - 1)
        return sorted(names[:count] if split == "val" else names[count:])


def _sample_name(text: str) -> str:
    """Return the name of a sample from its image's path, relative to `images` or to the root."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.parts[:1] == ("images",):
        path = path.relative_to("images")
    return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)
