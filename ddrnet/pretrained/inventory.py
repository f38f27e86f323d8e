"""Weights on this computer, found and removed. Loads no torch; looking writes nothing."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from ddrnet.files import StrPath
from ddrnet.pretrained import hub
from ddrnet.pretrained.weights_cache import CacheFolder
from ddrnet.weights.row import HubFile, Source, WeightsRow


class CachedWeights(NamedTuple):
    """Weights that need no network.

    Attributes:
        path: The safetensors file.
        size: Size of the file, in bytes.
        verification: How well the file is known to be the published one, in words.
    """

    path: Path
    size: int
    verification: str


def source_groups(row: WeightsRow) -> list[tuple[Source, ...]]:
    """Return the sources of a row in the order of trial.

    Sources of one group can replace each other: a cached file of the group is enough. If
    DDRNET_HUB_ORG is set, the mirror of that organisation forms a group of its own and comes first.
    """
    organisation = os.environ.get("DDRNET_HUB_ORG")
    mirror = [(HubFile(f"{organisation}/{row.name}"),)] if organisation else []
    return [*mirror, row.sources]


def find_cached(row: WeightsRow, cache_dir: StrPath | None = None) -> CachedWeights | None:
    """Return the cached weights of a row. Only sizes are compared; loading compares hashes.

    Args:
        row: A row of the weights table.
        cache_dir: Replaces the caches of the Hub and of this library.
    """
    if row.packaged is not None:
        path, size = row.packaged.path, row.packaged.size
        is_whole = path.is_file() and path.stat().st_size == size
        return CachedWeights(path, size, "ships with ddrnet") if is_whole else None
    root = None if cache_dir is None else Path(cache_dir).expanduser()
    for sources in source_groups(row):
        for file in (source for source in sources if isinstance(source, HubFile)):
            cached = hub.find_cached(file, root)
            if cached is not None:
                known = "verified" if file.sha256 else "recorded locally, not verified"
                return CachedWeights(cached, cached.stat().st_size, known)
    folder = CacheFolder.of(row, cache_dir)
    if not folder.is_filled():
        return None
    record = folder.read_record()
    return CachedWeights(folder.weights, record.size, record.verification)


def remove_cached(row: WeightsRow, cache_dir: StrPath | None = None) -> int:
    """Delete the cached weights of a row; recorded hashes are kept.

    The call waits for a process that is fetching these weights.

    Args:
        row: A row of the weights table.
        cache_dir: Replaces the caches of the Hub and of this library.

    Returns:
        The number of freed bytes; 0 if nothing was cached.

    Raises:
        OSError: If a file cannot be deleted.
        ValueError: If the weights ship with this package.
    """
    if row.packaged is not None:
        raise ValueError(f"{row.name} ships with ddrnet and stays: {row.packaged.path}")
    folder, freed = CacheFolder.of(row, cache_dir), 0
    with folder.locked() if folder.path.is_dir() else nullcontext():
        while (cached := find_cached(row, cache_dir)) is not None:
            hub.remove(cached.path)
            freed += cached.size
    return freed
