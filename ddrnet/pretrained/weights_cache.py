"""The cache of fetched weights, and the record of their hashes. Loads no torch.

Each row of the weights table has a folder with the converted `model.safetensors` and a
`record.json`. The record outlives the weights: it keeps the hash of each source's first download,
and later downloads are compared with it where no hash is published.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from ddrnet.errors import WeightsUnavailableError
from ddrnet.files import PARTIAL, StrPath, sha256_of, write_atomically
from ddrnet.pretrained.connections import SourceError
from ddrnet.weights.row import Source, WeightsRow

logger = logging.getLogger(__name__)

Verification = Literal[
    "verified",
    "verified by prefix",
    "as others report",
    "recorded locally, not verified",
]
"""Degrees of certainty that a file is the published one, the highest first."""


class Verdict(NamedTuple):
    """The result of comparing a file with the known hashes.

    Attributes:
        verification: How well the file is known to be the published one.
        sha256: The file's hash, in hex.
    """

    verification: Verification
    sha256: str


@dataclass(frozen=True)
class Record:
    """The content of `record.json`.

    Attributes:
        source: Address that the weights came from.
        verification: How well the downloaded file was known to be the published one.
        sha256: Hash of the converted file.
        size: Size of the converted file, in bytes.
        seen: Address -> hash of the file it served. Without a published hash, the first one stays.
    """

    source: str = ""
    verification: str = ""
    sha256: str = ""
    size: int = -1
    seen: Mapping[str, str] = field(default_factory=dict)

    def with_seen(self, address: str, sha256: str) -> Record:
        """Return a record that also holds the hash of a source's file."""
        return replace(self, seen={**self.seen, address: sha256})


@dataclass(frozen=True)
class CacheFolder:
    """The cached files of one row.

    Attributes:
        path: The folder; it need not exist.
    """

    path: Path

    @classmethod
    def of(cls, row: WeightsRow, cache_dir: StrPath | None = None) -> CacheFolder:
        """Return the folder of `row`, without creating it.

        Args:
            row: A row of the weights table.
            cache_dir: Replaces huggingface_hub's folder for assets.
        """
        if cache_dir is None:
            # `huggingface_hub.cached_assets_path` would create the folder.
            from huggingface_hub import constants

            cache_dir = constants.HF_ASSETS_CACHE
        root = Path(cache_dir).expanduser().absolute()
        return cls(root / "ddrnet" / "weights" / row.name)

    @property
    def weights(self) -> Path:
        """The converted weights."""
        return self.path / "model.safetensors"

    @property
    def record_path(self) -> Path:
        """The file with the record."""
        return self.path / "record.json"

    @property
    def download(self) -> Path:
        """The original file, during download and conversion."""
        return self.path / f"original{PARTIAL}"

    def is_filled(self) -> bool:
        """Whether the weights are there and have the recorded size."""
        try:
            return self.weights.stat().st_size == self.read_record().size
        except OSError:
            return False

    def is_intact(self) -> bool:
        """Whether the weights are there and have the recorded hash."""
        try:
            return self.is_filled() and sha256_of(self.weights) == self.read_record().sha256
        except FileNotFoundError:  # another process removed them
            return False

    def read_record(self) -> Record:
        """Return the record; an empty one if there is none or it cannot be read."""
        try:
            record = Record(**json.loads(self.record_path.read_text()))
            if not isinstance(record.seen, dict):
                raise TypeError(f"seen is {record.seen!r}, expected an object")
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, TypeError) as error:
            logger.warning("ignoring %s, which cannot be read: %s", self.record_path, error)
            return Record()
        return record

    def write_record(self, record: Record) -> None:
        """Replace the record."""
        write_atomically(self.record_path, json.dumps(asdict(record), indent=2).encode())

    def verify(self, source: Source, path: Path) -> Verdict:
        """Compare a file with its published hash, or else with the recorded one.

        Args:
            source: The source of the file.
            path: The file.

        Raises:
            SourceError: If the file differs from the published or the recorded one.
        """
        sha256, size = sha256_of(path), path.stat().st_size
        if source.sha256 and source.enforced:
            if source.size not in (None, size):
                raise SourceError(f"the file has {size} bytes, expected {source.size}")
            if not sha256.startswith(source.sha256):
                got = sha256[: len(source.sha256)]
                raise SourceError(f"the file has sha256 {got}, expected {source.sha256}")
            return Verdict("verified" if source.sha256 == sha256 else "verified by prefix", sha256)
        if source.sha256 == sha256:
            return Verdict("as others report", sha256)
        if source.sha256:
            logger.warning(
                "%s is not the file that others report: %d bytes with sha256 %s instead of %s",
                *(source.address, size, sha256, source.sha256),
            )
        seen = self.read_record().seen.get(source.address, sha256)
        if seen != sha256:
            raise SourceError(
                f"the file changed since it was first fetched: its sha256 is {sha256}, it was "
                f"{seen}; if you trust the new file, delete {self.record_path}"
            )
        return Verdict("recorded locally, not verified", sha256)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the row's lock and delete the leftovers of interrupted processes.

        The system releases the lock even if the process is killed.

        Raises:
            OSError: If the folder cannot be created or locked.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another process that works on %s", self.path.name)
            lock.acquire()
        except NotImplementedError as error:
            reason = "its file system has no locks"
            raise OSError(errno.ENOLCK, reason, lock.lock_file) from error
        try:
            for leftover in self.path.glob(f"*{PARTIAL}"):
                leftover.unlink()
            yield
        finally:
            lock.release()


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into an error that names the cache folder.

    Raises:
        WeightsUnavailableError: If the block raises an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> WeightsUnavailableError:
    """Return the error for a cache folder that cannot be written to."""
    return WeightsUnavailableError(
        f"cannot write to the cache {path}: {error.strerror or error}; make room or make it "
        "writable, or choose another folder with cache_dir= or HF_HOME"
    )
