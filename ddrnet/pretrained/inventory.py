"""What of the weights table is on this computer. Loads no torch, and writes nothing to look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ddrnet.pretrained import hub
from ddrnet.pretrained.weights_cache import CacheFolder
from ddrnet.weights.row import HubFile, PackagedFile, Source, WeightsRow


class CachedWeights(NamedTuple):
    """Weights that need no network.

    Attributes:
        path: The safetensors file.
        size: In bytes.
        verification: How far it is known to be the published file, in words.
    """

    path: Path
    size: int
    verification: str


def source_groups(row: WeightsRow) -> list[tuple[Source, ...]]:
    """Return the sources of a row in the order of trial.

    A cached file spares the sources of its own group. With DDRNET_HUB_ORG set, that
    organisation's mirror is a group of its own and comes before what the row lists.
    """
    organisation = os.environ.get("DDRNET_HUB_ORG")
    mirror = [(HubFile(f"{organisation}/{row.name}"),)] if organisation else []
    return [*mirror, row.sources]


def find_cached(row: WeightsRow, cache_dir: str | Path | None = None) -> CachedWeights | None:
    """Return what the cache has of a row, by file sizes alone; hashes are compared on loading.

    Args:
        row: A row of the weights table.
        cache_dir: Replaces the Hub's and this library's caches.
    """
    if row.packaged is not None:
        return _present(row.packaged)
    root = None if cache_dir is None else Path(cache_dir).expanduser()
    for sources in source_groups(row):
        for file in (source for source in sources if isinstance(source, HubFile)):
            path = hub.find_cached(file, root)
            if path is not None:
                known = "verified" if file.sha256 else "recorded locally, not verified"
                return CachedWeights(path, path.stat().st_size, known)
    folder = CacheFolder.of(row, cache_dir)
    if not folder.is_filled():
        return None
    record = folder.read_record()
    return CachedWeights(folder.weights, record.size, record.verification)


def _present(file: PackagedFile) -> CachedWeights | None:
    if not file.path.is_file() or file.path.stat().st_size != file.size:
        return None
    return CachedWeights(file.path, file.size, "ships with ddrnet")


def remove_cached(row: WeightsRow, cache_dir: str | Path | None = None) -> int:
    """Delete cached weights of a row; hashes of unverified sources stay on record.

    A process that is fetching them is waited for.

    Args:
        row: A row of the weights table.
        cache_dir: Replaces the Hub's and this library's caches.

    Returns:
        The bytes freed; 0 if nothing was cached.

    Raises:
        OSError: If a file cannot be deleted.
        ValueError: If the weights are a part of this package.
    """
    if row.packaged is not None:
        raise ValueError(f"{row.name} ships with ddrnet and stays: {row.packaged.path}")
    folder = CacheFolder.of(row, cache_dir)
    if not folder.path.is_dir():
        return _remove_all(row, cache_dir)
    with folder.locked():
        return _remove_all(row, cache_dir)


def _remove_all(row: WeightsRow, cache_dir: str | Path | None) -> int:
    freed = 0
    while (cached := find_cached(row, cache_dir)) is not None:
        hub.remove(cached.path)
        freed += cached.size
    return freed
