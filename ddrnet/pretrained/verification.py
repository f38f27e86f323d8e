"""How far a downloaded file is known to be the right one. Loads no torch."""

from __future__ import annotations

import logging
from typing import Literal

from ddrnet.pretrained.download import SourceError
from ddrnet.weights.row import Source

logger = logging.getLogger("ddrnet")

Verification = Literal[
    "verified",
    "verified by prefix",
    "as others report",
    "recorded locally, not verified",
]
"""What is known of a file, the best first."""


def check(source: Source, sha256: str, size: int, seen: str | None) -> Verification:
    """Compare a file with what is known of it.

    Args:
        source: Where the file came from.
        sha256: Its hash, 64 hex digits.
        size: In bytes.
        seen: The hash when the source was first used here, or None.

    Raises:
        SourceError: If the file is not the one that was published or first seen.
    """
    if source.sha256 and source.enforced:
        return _check_published(source, sha256, size)
    if source.sha256 and sha256 == source.sha256:
        return "as others report"
    if source.sha256:
        logger.warning(
            "%s is not the file that others report: sha256 %s, size %d; theirs is %s",
            source.address,
            sha256,
            size,
            source.sha256,
        )
    if seen and seen != sha256:
        raise SourceError(f"the file has changed: sha256 {sha256}, when first fetched {seen}")
    return "recorded locally, not verified"


def _check_published(source: Source, sha256: str, size: int) -> Verification:
    expected = source.sha256 or ""
    if source.size not in (None, size):
        raise SourceError(f"{size} bytes, expected {source.size}")
    if not sha256.startswith(expected):
        raise SourceError(f"wrong file: sha256 {sha256[: len(expected)]}, expected {expected}")
    return "verified" if len(expected) == 64 else "verified by prefix"
