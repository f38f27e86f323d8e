"""Where fetched weights lie, and what is remembered about them. Loads no torch.

Each row of the weights table has a folder with the converted `model.safetensors` and a
`record.json`. The record outlives the weights: it keeps the hash of what every source gave, with
which later downloads are compared where no hash is published.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ddrnet.errors import WeightsUnavailableError
from ddrnet.files import PARTIAL, sha256_of, write_atomically
from ddrnet.weights.row import WeightsRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What is remembered about the weights of one row.

    Attributes:
        source: Address the weights came from.
        verification: How far the downloaded file was known to be the right one.
        sha256: Hash of the converted file.
        size: Of the converted file, in bytes.
        seen: Address -> hash of the file it gave: the first one, where none is published.
    """

    source: str = ""
    verification: str = ""
    sha256: str = ""
    size: int = -1
    seen: Mapping[str, str] = field(default_factory=dict)

    def with_seen(self, address: str, sha256: str) -> Record:
        """Return a record that also knows the hash of a source."""
        return replace(self, seen={**self.seen, address: sha256})


@dataclass(frozen=True)
class CacheFolder:
    """The files of one row.

    Attributes:
        path: The folder; it need not exist.
    """

    path: Path

    @classmethod
    def of(cls, row: WeightsRow, cache_dir: str | Path | None = None) -> CacheFolder:
        """Return the folder of `row`, without creating it.

        Args:
            row: A row of the weights table.
            cache_dir: Replaces the folder that huggingface_hub keeps for libraries' assets.
        """
        return cls(_root(cache_dir) / "ddrnet" / "weights" / row.name)

    @property
    def weights(self) -> Path:
        """The converted weights."""
        return self.path / "model.safetensors"

    @property
    def record_path(self) -> Path:
        """The file that holds the record."""
        return self.path / "record.json"

    @property
    def lock(self) -> Path:
        """The file that processes lock while they fetch."""
        return self.path / ".lock"

    @property
    def download(self) -> Path:
        """The original file while it is fetched and converted."""
        return self.path / f"original{PARTIAL}"

    def is_filled(self) -> bool:
        """Whether the weights are there, of the size that the record says."""
        try:
            return self.weights.stat().st_size == self.read_record().size
        except OSError:
            return False

    def is_intact(self) -> bool:
        """Whether the weights are there, byte for byte."""
        try:
            return self.is_filled() and sha256_of(self.weights) == self.read_record().sha256
        except FileNotFoundError:  # removed in between
            return False

    def read_record(self) -> Record:
        """Return the record; an empty one if there is none or it cannot be read."""
        try:
            return _parsed(self.record_path.read_text())
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, TypeError) as error:
            logger.warning("ignoring %s, which cannot be read: %s", self.record_path, error)
            return Record()

    def write_record(self, record: Record) -> None:
        """Replace the record."""
        write_atomically(self.record_path, json.dumps(asdict(record), indent=2).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the row's lock, which the system releases even when a process is killed.

        What an interrupted process left is gone inside.

        Raises:
            OSError: If the folder cannot be made or locked.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another process that works on %s", self.path.name)
            lock.acquire()
        except NotImplementedError as error:
            raise OSError(errno.ENOLCK, "its file system has no locks", str(self.lock)) from error
        try:
            self.remove_leftovers()
            yield
        finally:
            lock.release()

    def remove_leftovers(self) -> None:
        """Delete what an interrupted process left; call it under the lock."""
        for leftover in self.path.glob(f"*{PARTIAL}"):
            leftover.unlink()


def _parsed(text: str) -> Record:
    record = Record(**json.loads(text))
    if not isinstance(record.seen, dict):
        raise TypeError(f"seen is {record.seen!r}, expected an object")
    return record


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the folder.

    Raises:
        WeightsUnavailableError: If anything inside raises an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> WeightsUnavailableError:
    """Return the error for a cache that the operating system does not let us write to."""
    return WeightsUnavailableError(
        f"cannot write to the cache {path}: {error.strerror or error}; make room or make it "
        "writable, or choose another folder with cache_dir= or HF_HOME"
    )


def _root(cache_dir: str | Path | None) -> Path:
    """Return the assets root as `huggingface_hub.cached_assets_path` does, but create nothing."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser().absolute()
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE).expanduser().absolute()
