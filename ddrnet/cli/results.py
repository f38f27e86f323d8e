"""Names and writes the files of `ddrnet predict`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from ddrnet.files import png_bytes, write_atomically
from ddrnet.labels import ClassLabel
from ddrnet.predictor.sources import LABELS_SUFFIX, OVERLAY_SUFFIX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Results(NamedTuple):
    """The files with the results of one image.

    Attributes:
        labels: The palette PNG with class indices.
        overlay: The PNG with the class colours over the image.
    """

    labels: Path
    overlay: Path


def name_results(images: Sequence[Path], folder: Path) -> list[Results]:
    """Return the files of each image: `NAME.labels.png` and `NAME.overlay.png`.

    NAME is the path of the image below the deepest common folder of all images. It lacks the file
    extension, except where two names would be equal without it.

    Raises:
        ValueError: If a result would overwrite one of the images.
    """
    names = _unique_names(images)
    results = [
        Results(folder / f"{name}{LABELS_SUFFIX}", folder / f"{name}{OVERLAY_SUFFIX}")
        for name in names
    ]
    inputs = {_identity(image): image for image in images if image.exists()}
    for image, paths in zip(images, results, strict=True):
        for path in paths:
            if path.exists() and _identity(path) in inputs:
                raise ValueError(
                    f"the results of {image} would overwrite the image {inputs[_identity(path)]}: "
                    f"choose another folder than {path.parent}"
                )
    return results


def write_results(
    results: Results,
    image: Tensor,
    labels: NDArray[np.uint8],
    classes: Sequence[ClassLabel],
    note: str = "",
) -> None:
    """Write the label map and the overlay with its legend, each atomically.

    Args:
        results: The files; their folders are created.
        image: (3, H, W) uint8 RGB.
        labels: (H, W) class indices.
        classes: The class of each index.
        note: Text below the legend, and the PNG comment of both files.

    Raises:
        OSError: If a file cannot be written; the error names it.
    """
    from ddrnet.visualize import overlay, palette_image, with_legend

    blended = with_legend(overlay(image, labels, classes), labels, classes, note=note)
    label_map = png_bytes(palette_image(labels, classes), compression=6, comment=note)
    for path, content in (
        (results.labels, label_map),
        (results.overlay, png_bytes(blended, comment=note)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def _unique_names(images: Sequence[Path]) -> list[PurePath]:
    """Return paths below the common folder, without file extension where that is unique."""
    absolute = [Path(os.path.abspath(image)) for image in images]
    # A drive letter becomes a valid name of a folder.
    parts = [(re.sub(r"[\\/:]", "", path.anchor), *path.parts[1:]) for path in absolute]
    levels = zip(*(path[:-1] for path in parts), strict=False)
    common = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))
    full = [PurePath(*path[common:]) for path in parts]
    times = Counter(_folded(name.with_suffix("")) for name in full)
    times.update(_folded(name) for name in full if name.suffix)
    return [
        name.with_suffix("") if times[_folded(name.with_suffix(""))] == 1 else name for name in full
    ]


def _folded(name: PurePath) -> str:
    """Return a name as a file system that ignores case compares it."""
    return str(name).casefold()


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
