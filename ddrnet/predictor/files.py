"""Which image files to read, and where the results go: no two in one place, none over an input."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

from ddrnet.data.folder import IMAGE_SUFFIXES

_LABELS = ".labels.png"
_OVERLAY = ".overlay.png"


class Results(NamedTuple):
    """Where the results of one image go.

    Attributes:
        labels: The palette PNG of class indices.
        overlay: The PNG of the image with the classes blended over it.
    """

    labels: Path
    overlay: Path


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
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


def name_results(images: Sequence[Path], folder: Path) -> list[Results]:
    """Return where the results of each image go: `NAME.labels.png` and `NAME.overlay.png`.

    They lie below `folder` as the images lie below the last folder that all have in common.
    NAME is the image's without its ending, or with it where that would make two alike.

    Raises:
        ValueError: If a result would overwrite one of the images.
    """
    names = _unique_names(images)
    results = [Results(folder / f"{name}{_LABELS}", folder / f"{name}{_OVERLAY}") for name in names]
    _refuse_overwriting(images, results)
    return results


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
            if is_image and not name.startswith(".") and not name.endswith((_LABELS, _OVERLAY)):
                yield Path(parent, name)


def _raise(error: OSError) -> None:
    raise error


def _unique_names(images: Sequence[Path]) -> list[PurePath]:
    """Name images below their common folder: without ending where nobody else has that name."""
    parts = [_parts(Path(os.path.abspath(image))) for image in images]
    levels = zip(*(path[:-1] for path in parts), strict=False)
    common = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))
    full = [PurePath(*path[common:]) for path in parts]
    times = Counter(_folded(name.with_suffix("")) for name in full)
    times.update(_folded(name) for name in full if name.suffix)
    return [
        name.with_suffix("") if times[_folded(name.with_suffix(""))] == 1 else name for name in full
    ]


def _refuse_overwriting(images: Sequence[Path], results: Sequence[Results]) -> None:
    inputs = {_identity(image): image for image in images if image.exists()}
    for image, paths in zip(images, results, strict=True):
        for path in paths:
            if path.exists() and _identity(path) in inputs:
                raise ValueError(
                    f"the results of {image} would overwrite the image {inputs[_identity(path)]}: "
                    f"choose another folder for them than {path.parent}"
                )


def _parts(path: Path) -> tuple[str, ...]:
    """Split a path; a drive letter becomes a name that a folder may have."""
    return re.sub(r"[\\/:]", "", path.anchor), *path.parts[1:]


def _folded(name: PurePath) -> str:
    """Return what a file system that ignores case makes of a name."""
    return str(name).casefold()


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
