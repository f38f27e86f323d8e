"""Finds image files in files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from ddrnet.data.folder import IMAGE_SUFFIXES, is_image_file
from ddrnet.files import StrPath

LABELS_SUFFIX = ".labels.png"
OVERLAY_SUFFIX = ".overlay.png"
"""Suffixes of the files that `ddrnet predict` writes; searches of folders skip them."""


def find_images(paths: Iterable[StrPath]) -> list[Path]:
    """Return these files, and the images in these folders and their subfolders, each once.

    A given file counts whatever its name is. In folders, files with the suffix of an image count,
    sorted by path. Hidden files, links to folders, and the `*.labels.png` and `*.overlay.png` of
    earlier runs are skipped.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a folder holds no image.
        OSError: If a folder cannot be read.
    """
    found: dict[str, Path] = {}
    for path in (Path(path).expanduser() for path in paths):
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        images = sorted(_walk(path)) if path.is_dir() else [path]
        if not images:
            endings = ", ".join(sorted(IMAGE_SUFFIXES))
            raise ValueError(f"there is no image in the folder {path}; images end in {endings}")
        for image in images:
            found.setdefault(os.path.abspath(image), image)
    return list(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            is_result = name.endswith((LABELS_SUFFIX, OVERLAY_SUFFIX))
            if is_image_file(PurePath(name)) and not is_result:
                yield Path(parent, name)


def _raise(error: OSError) -> None:
    raise error
