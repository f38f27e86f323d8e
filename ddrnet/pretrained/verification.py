"""How far a downloaded file is known to be the right one. Loads no torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

from ddrnet.files import sha256_of
from ddrnet.pretrained.download import SourceError
from ddrnet.pretrained.weights_cache import CacheFolder
from ddrnet.weights.row import Source

logger = logging.getLogger(__name__)

Verification = Literal[
    "verified",
    "verified by prefix",
    "as others report",
    "recorded locally, not verified",
]
"""What is known of a file, the best first."""


class Verdict(NamedTuple):
    """The result of a check.

    Attributes:
        verification: How far the file is known to be the right one.
        sha256: The file's hash, in hex.
    """

    verification: Verification
    sha256: str


def check(source: Source, path: Path, folder: CacheFolder) -> Verdict:
    """Compare a file with the published hash, or else with the one that was first seen.

    Args:
        source: Where the file came from.
        path: The file.
        folder: Holds the record of what was first seen.

    Raises:
        SourceError: If it is another file.
    """
    sha256, size = sha256_of(path), path.stat().st_size
    if source.sha256 and source.enforced:
        return Verdict(_compare_published(source, sha256, size), sha256)
    if source.sha256 == sha256:
        return Verdict("as others report", sha256)
    if source.sha256:
        logger.warning(
            "%s is not the file that others report: %d bytes with sha256 %s instead of %s",
            *(source.address, size, sha256, source.sha256),
        )
    seen = folder.read_record().seen.get(source.address, sha256)
    if seen != sha256:
        raise SourceError(
            f"the file changed since it was first fetched: sha256 {sha256}, then {seen}; if that "
            f"is right, delete {folder.record_path}"
        )
    return Verdict("recorded locally, not verified", sha256)


def _compare_published(source: Source, sha256: str, size: int) -> Verification:
    expected = source.sha256 or ""
    if source.size not in (None, size):
        raise SourceError(f"the file has {size} bytes, expected {source.size}")
    if not sha256.startswith(expected):
        got = sha256[: len(expected)]
        raise SourceError(f"the file has sha256 {got}, expected {expected}")
    return "verified" if len(expected) == 64 else "verified by prefix"
