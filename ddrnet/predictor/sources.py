"""The image files that paths and folders name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from ddrnet.data.folder import IMAGE_SUFFIXES
from ddrnet.files import StrPath

LABELS_SUFFIX = ".labels.png"
OVERLAY_SUFFIX = ".overlay.png"
"""Suffixes of the files that `ddrnet predict` writes; folders are searched without them."""


def find_images(paths: Iterable[StrPath]) -> list[Path]:
    """Return the image files that these files and folders name, each once.

    A file counts whatever its name is. In a folder and its subfolders, in the order of their
    names, files with an image's ending count; hidden ones, links to folders, and the
    `*.labels.png` and `*.overlay.png` of earlier runs are passed over.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a folder holds no image.
        OSError: If a folder cannot be read.
    """
    found: dict[str, Path] = {}
    for path in (Path(path).expanduser() for path in paths):
        for image in _images_in(path) if path.is_dir() else [_existing(path)]:
            found.setdefault(os.path.abspath(image), image)
    return list(found.values())


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    return path


def _images_in(folder: Path) -> list[Path]:
    images = sorted(_walk(folder))
    if not images:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"there is no image in the folder {folder}; images end in {endings}")
    return images


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            is_image = PurePath(name).suffix.lower() in IMAGE_SUFFIXES
            if (
                is_image
                and not name.startswith(".")
                and not name.endswith((LABELS_SUFFIX, OVERLAY_SUFFIX))
            ):
                yield Path(parent, name)


def _raise(error: OSError) -> None:
    raise error
