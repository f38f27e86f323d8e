"""Writes files atomically, hashes files, and encodes pictures as PNG.

Loads neither torch nor Pillow.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

StrPath = str | os.PathLike[str]
"""A path, in every public function."""

PARTIAL = ".part"
"""Suffix of incomplete files."""


@contextmanager
def open_atomically(path: StrPath) -> Iterator[BinaryIO]:
    """Open a file for writing and reading under a temporary name; rename it to `path` at the end.

    The temporary file is hidden and lies in the folder of `path`. It is flushed to disk before it
    is renamed, and deleted if the block raises. A killed process leaves it behind.

    Args:
        path: The file to create or replace; its folder must exist.

    Raises:
        OSError: If the file cannot be written; the error names `path`.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename = str(target)
        if error.filename2 is not None:
            del error.filename2  # the name of a failed rename's target; str shows even None
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: StrPath, data: bytes | bytearray | memoryview) -> None:
    """Write a whole file; after an error the old content remains.

    Args:
        path: The file to create or replace; its folder must exist.
        data: The whole content.

    Raises:
        OSError: If the file cannot be written; the error names `path`.
    """
    with open_atomically(path) as file:
        file.write(data)


def sha256_of(path: StrPath) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def png_bytes(picture: Image, *, compression: int = 1, comment: str = "") -> bytes:
    """Return a picture as the content of a PNG file.

    Args:
        picture: A Pillow image of any mode that PNG stores.
        compression: From 0 (none) to 9. Photographs gain little beyond 1, label maps much.
        comment: Text stored in the file; "" stores none.
    """
    from PIL.PngImagePlugin import PngInfo

    content, info = io.BytesIO(), PngInfo()
    if comment:
        info.add_text("Comment", comment)
    picture.save(content, "PNG", compress_level=compression, pnginfo=info)
    return content.getvalue()
