"""Names and writes the files of `ddrnet predict`."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddrnet.files import png_bytes, write_atomically
from ddrnet.predictor.sources import LEGEND, Source

if TYPE_CHECKING:
    from ddrnet.labels import ClassLabel
    from ddrnet.predictor.segmentation import Segmentation

WRITERS = min(4, os.cpu_count() or 1)
"""Threads that encode and write files."""

Finish = Callable[["Segmentation", dict[str, Path]], None]


class Wanted(NamedTuple):
    """What to write for each image.

    Attributes:
        labels: The class indices.
        overlay: The class colours over the image.
        color: The class colours.
        confidence: The probability of the class, 0 to 255.
        legend: The legend below each overlay, instead of one in each folder.
        only: The names of the classes in overlays; None for all.
        note: The PNG comment of every file, and a line of each legend.
    """

    labels: bool = True
    overlay: bool = True
    color: bool = False
    confidence: bool = False
    legend: bool = False
    only: Sequence[str] | None = None
    note: str = ""

    def files(self, stem: Path, frame: int | None = None) -> dict[str, Path]:
        """Return kind -> file of an image, or of one frame in the folder `stem`."""
        if frame is not None:
            stem = stem / f"{frame:06}"
        kinds = [
            kind for kind in ("labels", "overlay", "color", "confidence") if getattr(self, kind)
        ]
        return {kind: stem.with_name(f"{stem.name}.{kind}.png") for kind in kinds}


def name_results(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Return the beginning of the names of each source's results, without suffixes.

    It is the name of the source, which holds the tree of its folder. It lacks the file extension,
    except where two names would be equal without it, or a folder of other sources has that name: it
    would also be the folder of the frames of a video. Where two sources have one name, all names
    are paths below the deepest common folder.

    Raises:
        ValueError: If a result would overwrite one of the images.
    """
    stems = [folder / name for name in _unique_names(sources)]
    inputs = {
        _identity(source.origin): source.origin
        for source in sources
        if isinstance(source.origin, Path) and os.path.exists(source.origin)
    }
    everything = Wanted(color=True, confidence=True)
    for source, stem in zip(sources, stems, strict=True):
        for path in (*everything.files(stem).values(), stem.with_name(LEGEND)):
            if os.path.exists(path) and _identity(path) in inputs:
                raise ValueError(
                    f"the results of {source.origin} would overwrite the image "
                    f"{inputs[_identity(path)]}: choose another folder than {path.parent}"
                )
    return stems


def write_results(files: dict[str, Path], result: Segmentation, wanted: Wanted) -> None:
    """Write the files of an image, each atomically; their folders are created.

    Args:
        files: Kind -> file, from `Wanted.files`.
        result: The segmentation, with a confidence map if there is a file for it.
        wanted: What the files show.

    Raises:
        OSError: If a file cannot be written; the error names it.
    """
    for kind, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _content(kind, result, wanted))


class Writers:
    """Writes results in threads, in order; use as a context manager.

    Args:
        wanted: What the files show.
        classes: The classes in legends.
        finish: Called with each result and its files when they are written.

    Raises:
        OSError: In the next call and at the end of the block, if a file cannot be written.
    """

    def __init__(self, wanted: Wanted, classes: Sequence[ClassLabel], finish: Finish) -> None:
        self._wanted = wanted
        self._classes = classes
        self._finish = finish
        self._pool = ThreadPoolExecutor(WRITERS, "ddrnet-write")
        self._jobs: deque[tuple[Segmentation, dict[str, Path], Future[None]]] = deque()
        self._legends: set[Path] = set()

    def __enter__(self) -> Writers:
        return self

    def write(self, result: Segmentation, files: dict[str, Path]) -> None:
        """Write the files of a result, and the legend of a folder that has none yet."""
        folder = files["overlay"].parent if "overlay" in files else None
        if folder and not self._wanted.legend and folder not in self._legends:
            folder.mkdir(parents=True, exist_ok=True)
            write_legend(folder, self._classes, self._wanted)
            self._legends.add(folder)
        job = self._pool.submit(write_results, files, result, self._wanted)
        self._jobs.append((result, files, job))
        self._wait(WRITERS)

    def _wait(self, number: int) -> None:
        """Wait until no more than so many results are being written."""
        while len(self._jobs) > number:
            result, files, job = self._jobs.popleft()
            job.result()
            self._finish(result, files)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._pool:
            if kind is None or kind is KeyboardInterrupt:
                self._wait(0)


def write_legend(folder: Path, classes: Sequence[ClassLabel], wanted: Wanted) -> None:
    """Write the legend of the overlays in a folder.

    Raises:
        OSError: If the file cannot be written; the error names it.
    """
    from ddrnet.visualize import legend

    shown = [label for label in classes if wanted.only is None or label.name in wanted.only]
    picture = legend(shown, note=wanted.note)
    write_atomically(folder / LEGEND, png_bytes(picture, comment=wanted.note))


def _content(kind: str, result: Segmentation, wanted: Wanted) -> bytes:
    """Return the content of one file."""
    from PIL import Image

    from ddrnet.visualize import palette_image, with_legend

    if kind == "labels":
        picture = palette_image(result.labels, result.classes)
        return png_bytes(picture, compression=6, comment=wanted.note)
    if kind == "color":
        picture = palette_image(result.labels, result.classes).convert("RGB")
    elif kind == "confidence":
        assert result.confidence is not None
        picture = Image.fromarray(np.rint(255 * result.confidence).astype(np.uint8))
    else:
        picture = result.overlay(only=wanted.only)
        if wanted.legend:
            only = [
                index
                for index, label in enumerate(result.classes)
                if wanted.only is None or label.name in wanted.only
            ]
            picture = with_legend(
                picture, result.labels, result.classes, only=only, note=wanted.note
            )
    return png_bytes(picture, comment=wanted.note)


def _unique_names(sources: Sequence[Source]) -> list[PurePath]:
    """Return a relative path for each source, without file extension where that is unique."""
    full = [source.name for source in sources]
    if len({_folded(name) for name in full}) < len(full):
        full = _below_common_folder(sources)
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for index, name in enumerate(full):
        while _folded(full[index]) in taken:  # addresses that differ in the query, for example
            numbers[_folded(name)] += 1
            number = numbers[_folded(name)] + 1
            full[index] = name.with_name(f"{name.stem}-{number}{name.suffix}")
        taken.add(_folded(full[index]))
    times = Counter(taken)
    times.update({_folded(folder) for name in full for folder in name.parents})
    times.update(_folded(name.with_suffix("")) for name in full if name.suffix)
    return [
        name.with_suffix("") if times[_folded(name.with_suffix(""))] == 1 else name for name in full
    ]


def _below_common_folder(sources: Sequence[Source]) -> list[PurePath]:
    """Return the paths of files below the deepest common folder; other sources keep their names."""
    paths = [Path(os.path.abspath(s.origin)) for s in sources if isinstance(s.origin, Path)]
    # A drive letter becomes a valid name of a folder.
    parts = [(re.sub(r"[\\/:]", "", path.anchor), *path.parts[1:]) for path in paths]
    levels = zip(*(path[:-1] for path in parts), strict=False)
    common = len(list(takewhile(lambda names: len(set(names)) == 1, levels)))
    names = iter(PurePath(*path[common:]) for path in parts)
    return [next(names) if isinstance(s.origin, Path) else s.name for s in sources]


def _folded(name: PurePath) -> str:
    """Return a name as a file system that ignores case compares it."""
    return str(name).casefold()


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
