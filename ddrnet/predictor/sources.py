"""Finds the images in files, folders, patterns, text lists, videos, webcams and iterators."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import islice, takewhile
from pathlib import Path, PurePath
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddrnet.data.decoding import decode_frames, is_animation
from ddrnet.data.folder import IMAGE_SUFFIXES, is_image_file
from ddrnet.errors import DDRNetError
from ddrnet.predictor.pixels import is_address, read_pixels
from ddrnet.predictor.video import is_video, read_video

LIST_SUFFIX = ".txt"
"""Suffix of a text file with one source per line."""

OVERLAY_SUFFIX = ".overlay.png"

RESULT_SUFFIXES = (".labels.png", OVERLAY_SUFFIX, ".color.png", ".confidence.png")
"""Suffixes of the files that `ddrnet predict` writes; searches skip them."""

LEGEND = "legend.png"
"""The legend that `ddrnet predict` writes beside overlays; skipped where there are overlays."""


class Source(NamedTuple):
    """One place that gives an image, or many.

    Attributes:
        origin: A path, an address, the number of a webcam, or an image in memory.
        name: A relative path that tells the source from others, with the tree of its folder.
    """

    origin: Any
    name: PurePath


class Pending(NamedTuple):
    """An image that nobody has read yet.

    Attributes:
        source: Its path or address; "" for images in memory.
        read: Returns (C, H, W) uint8 for the number of channels that a model reads.
        frame: The number of the frame in a video or an animation, from 0; else None.
        time: When the frame is shown, in seconds; else None.
        milliseconds: The time that it took to get the frame, before `read`.
    """

    source: str
    read: Callable[[int], Tensor]
    frame: int | None = None
    time: Fraction | None = None
    milliseconds: float = 0.0


def find_sources(given: Any) -> Iterator[Source]:
    """Yield the sources in what a user names; no image is read yet.

    Args:
        given: A path, an address, the number of a webcam, an image in memory, or an iterable of
            these. A folder stands for the images in it and its subfolders, sorted by path, without
            hidden files, links to folders and results of `ddrnet predict`. A pattern such as
            `photos/**/*.jpg` stands for the matching files. A text file (`.txt`) has one of these
            per line, relative to the current folder or to its own.

    Yields:
        The sources; an item that cannot be searched gives one whose image raises the error.
    """
    single = isinstance(given, str | os.PathLike | int | Image.Image | np.ndarray | Tensor | Source)
    for item in [given] if single else given:
        try:
            lines = _lines(Path(item).expanduser()) if _is_list(item) else [item]
        except (OSError, ValueError) as error:
            lines = [Source(error, PurePath(item))]
        for line in lines:
            try:
                yield from _found(line)
            except (OSError, ValueError) as error:
                yield Source(error, PurePath(line))


def images_of(source: Source, *, every: int = 1) -> Iterator[Pending]:
    """Yield the image of a source, or the frames of a video, an animation or a webcam.

    Args:
        source: From `find_sources`. A source that cannot be opened yields one image whose `read`
            raises the error.
        every: Take each so-many-th frame.
    """
    origin, name = source
    shown = f"webcam {origin}" if isinstance(origin, int) else ""
    if isinstance(origin, str | os.PathLike):
        shown = os.fspath(origin)
    if isinstance(origin, Exception):
        shown = str(name)
    frame = None
    try:
        if isinstance(origin, Exception):
            raise origin
        frames = _frames(origin, every)
        if frames is None:
            if isinstance(origin, np.ndarray | Tensor):  # the caller may reuse their memory
                origin = origin.copy() if isinstance(origin, np.ndarray) else origin.clone()
            yield Pending(shown, partial(read_pixels, origin))
            return
        started = perf_counter()
        for frame, time, pixels in frames:
            read = partial(read_pixels, pixels)
            milliseconds = 1000 * (perf_counter() - started)
            yield Pending(shown, read, frame, time, milliseconds)
            started = perf_counter()
    except (OSError, ValueError, DDRNetError) as error:
        yield Pending(shown, partial(_fail, error), None if frame is None else frame + 1)


def _frames(
    origin: Any, every: int
) -> Iterator[tuple[int, Fraction, NDArray[np.uint8] | Tensor]] | None:
    """Return number, time and pixels of frames; None if the source is one image."""
    if is_video(origin):
        video = read_video(origin, every=every)
        return ((frame.index, frame.time, frame.pixels) for frame in video)
    if isinstance(origin, Path) and is_animation(origin):
        frames = islice(enumerate(decode_frames(origin)), 0, None, every)
        return ((index, time, pixels) for index, (pixels, time) in frames)
    return None


def _found(item: Any) -> Iterator[Source]:
    """Yield the sources of a folder or a pattern; anything else is one itself."""
    if isinstance(item, Source):
        yield item
    elif isinstance(item, int) and not isinstance(item, bool):
        yield Source(item, PurePath(f"webcam{item}"))
    elif not isinstance(item, str | os.PathLike):
        yield Source(item, PurePath("image"))
    elif "://" in os.fspath(item):
        yield Source(item, PurePath(_name_of(str(item))))
    else:
        text, path = os.fspath(item), Path(item).expanduser()
        if os.path.isdir(path):
            yield from (Source(image, image.relative_to(path)) for image in _images_in(path))
        elif not os.path.exists(path) and glob.has_magic(text):
            yield from _matching(path)
        elif not os.path.exists(path) and text.isdecimal():
            yield from _found(int(text))
        else:
            yield Source(path, PurePath(path.name))


def _images_in(folder: Path) -> list[Path]:
    """Return the images below a folder, sorted by path.

    Raises:
        ValueError: If there is none.
        OSError: If a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images = [Path(parent, name) for name in files if is_image_file(PurePath(name))]
        found += [path for path in images if not _is_result(path)]
    if not found:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"there is no image in the folder {folder}; images end in {endings}")
    return sorted(found)


def _is_result(path: Path) -> bool:
    """Return whether `ddrnet predict` wrote a file, as far as names tell."""
    is_legend = path.name == LEGEND and any(path.parent.glob(f"*{OVERLAY_SUFFIX}"))
    return is_legend or path.name.endswith(RESULT_SUFFIXES)


def _matching(pattern: Path) -> Iterator[Source]:
    """Yield the files that match a pattern, named below the part without wildcards.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted(glob.glob(str(pattern), recursive=True))
    files = [Path(path) for path in found if os.path.isfile(path) and not _is_result(Path(path))]
    if not files:
        raise FileNotFoundError(f"no file matches {pattern}")
    fixed = Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts[:-1]))
    yield from (Source(path, path.relative_to(fixed)) for path in files)


def _is_list(item: Any) -> bool:
    named = isinstance(item, str | os.PathLike) and not is_address(item)
    return named and PurePath(item).suffix.lower() == LIST_SUFFIX


def _lines(path: Path) -> list[Any]:
    """Return the sources that a text file names, one per line.

    Raises:
        ValueError: If it is no text in UTF-8, or names nothing.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error.reason}") from error
    found: list[Any] = []
    for line in filter(None, lines):
        beside = path.parent / line
        outside = "://" in line or os.path.exists(os.path.expanduser(line))
        found.append(beside if not outside and os.path.exists(beside) else line)
    if not found:
        raise ValueError(f"{path} names no source; expected a path or an address per line")
    return found


def _name_of(address: str) -> str:
    """Return the last part of the path of an address, as the name of a file."""
    try:
        path = unquote(urlsplit(address).path)
    except ValueError:  # raised again when the image is read
        path = ""
    printable = (letter if letter.isprintable() else "_" for letter in PurePath(path).name)
    return "".join(printable) or "image"


def _fail(error: Exception, channels: int) -> Tensor:
    raise error
