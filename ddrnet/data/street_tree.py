"""Writes synthetic streets in the folders of Cityscapes, for tools made for Cityscapes."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from tqdm import tqdm

from ddrnet.errors import DatasetError
from ddrnet.files import PARTIAL, StrPath, png_bytes, write_atomically
from ddrnet.labels import CITYSCAPES
from ddrnet.streets import Scene, checked_size, render_street

MANIFEST = "streets.json"
"""The file with the size and the seed of the streets in a folder."""

CITY = "synthetic"

VAL_EVERY = 5
"""Every fifth scene belongs to the split `val`, the others to `train`."""

_WORTH_A_PROCESS = 4
"""The number of scenes that justifies the start of another process."""

_BYTES_PER_PIXEL = 2.0
"""Disk space of an image and its labels per pixel, measured and rounded up."""


def write_streets(
    root: StrPath,
    count: int,
    *,
    size: tuple[int, int] = (1024, 2048),
    seed: int = 0,
    workers: int = 0,
) -> None:
    """Write synthetic streets in the folders and files of Cityscapes.

    Scene `i` is `SyntheticStreets(size=size, seed=seed)[i]`; every fifth belongs to `val`, the
    others to `train`. Each gets `leftImg8bit/SPLIT/synthetic/*_leftImg8bit.png` and, in `gtFine`,
    `*_labelIds.png`, 16-bit `*_instanceIds.png`, `*_color.png` and `*_polygons.json`, from which
    the official tools draw the same labels. A second call, after an interruption or with a larger
    `count`, writes only the missing files.

    Args:
        root: A new or empty folder, or one with streets of the same size and seed.
        count: Number of scenes.
        size: Height and width in pixels, each from 32 up.
        seed: Chooses the scenes.
        workers: Rendering processes; with 0 or 1, or few scenes, this process renders. A script
            with more workers needs the usual `if __name__ == "__main__":`.

    Raises:
        ValueError: If `count` or `workers` is negative, or the size too small.
        DatasetError: If the folder holds other files, another process writes to it, or the disk
            is too small.
        OSError: If writing fails; finished scenes are kept.
    """
    if count < 0 or workers < 0:
        raise ValueError(f"count and workers must not be negative, got {count} and {workers}")
    folder, size = Path(root), checked_size(size)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _check_contents(folder, size, seed)
        missing = [i for i in range(count) if not _files(folder, i)[-1].exists()]
        _check_space(folder, len(missing), size)
        write_atomically(folder / MANIFEST, _manifest(size, seed).encode())
        done = _written(partial(_write_scene, folder, size, seed), missing, workers)
        for _ in tqdm(done, total=len(missing), unit="image", disable=None):
            pass


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = folder / f"{MANIFEST}.lock"
    try:
        with FileLock(lock, timeout=0):
            for leftover in folder.rglob(f"*{PARTIAL}"):  # of a killed process
                leftover.unlink()
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout as error:
        raise DatasetError(f"another process is writing streets into {folder}") from error


def _written(write: partial[None], missing: Sequence[int], workers: int) -> Iterator[None]:
    workers = min(workers, len(missing) // _WORTH_A_PROCESS)
    if workers < 2:
        yield from map(write, missing)
        return
    # Forked children may hang, because torch runs threads in the parent. Ctrl-C reaches all
    # processes: only the parent reacts, and it ends the children.
    ignore = signal.signal, (signal.SIGINT, signal.SIG_IGN)
    with get_context("spawn").Pool(workers, *ignore) as pool:
        yield from pool.imap_unordered(write, missing)


def _manifest(size: tuple[int, int], seed: int) -> str:
    return json.dumps({"height": size[0], "width": size[1], "seed": seed})


def _check_contents(folder: Path, size: tuple[int, int], seed: int) -> None:
    manifest = folder / MANIFEST
    if manifest.exists():
        found = manifest.read_text()
        if found != _manifest(size, seed):
            raise DatasetError(
                f"{folder} holds streets of {found}, not of {_manifest(size, seed)}: choose "
                "another folder, or the same size and seed"
            )
        return
    others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(MANIFEST))
    if others:
        raise DatasetError(
            f"{folder} is not empty and holds no synthetic streets: found {', '.join(others[:5])}; "
            f"choose a new folder"
        )


def _check_space(folder: Path, missing: int, size: tuple[int, int]) -> None:
    needed, free = missing * size[0] * size[1] * _BYTES_PER_PIXEL, shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{missing} streets of {size[0]} x {size[1]} pixels take about {needed / 1e9:.3g} GB, "
            f"and {folder} has room for {free / 1e9:.3g} GB: write fewer, smaller, or elsewhere"
        )


def _files(folder: Path, index: int) -> tuple[Path, ...]:
    """Return the files of a scene in the order of writing; the image, the last, completes it."""
    split = "val" if index % VAL_EVERY == VAL_EVERY - 1 else "train"
    name = f"{CITY}_{index:06d}_000000"
    labels, images = folder / "gtFine" / split / CITY, folder / "leftImg8bit" / split / CITY
    kinds = ("labelIds.png", "instanceIds.png", "color.png", "polygons.json")
    return *(labels / f"{name}_gtFine_{kind}" for kind in kinds), images / f"{name}_leftImg8bit.png"


def _write_scene(folder: Path, size: tuple[int, int], seed: int, index: int) -> None:
    scene = render_street(size, seed, index)
    ids = Image.fromarray(scene.ids())
    color = ids.copy()
    color.putpalette(bytes(chain.from_iterable(_COLORS)))
    contents = (
        png_bytes(ids),
        png_bytes(Image.fromarray(np.asarray(scene.instances).astype(np.uint16))),
        png_bytes(color.convert("RGBA")),
        _polygons(scene).encode(),
        png_bytes(scene.image),
    )
    for path, content in zip(_files(folder, index), contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


_COLORS = [row.color for row in sorted(CITYSCAPES.rows, key=lambda row: row.id) if row.id >= 0]
"""The colour of each label id."""


def _polygons(scene: Scene) -> str:
    objects = [
        {"label": label, "polygon": list(zip(polygon[::2], polygon[1::2], strict=True))}
        for label, polygon in scene.regions
    ]
    width, height = scene.image.size
    return json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects})
