"""Folders, records and atomic writes of the cache."""

import errno
import hashlib
import logging

import huggingface_hub
import pytest
from huggingface_hub import constants

from ddrnet.errors import WeightsUnavailableError
from ddrnet.files import sha256_of, write_atomically
from ddrnet.pretrained.weights_cache import CacheFolder, Record, writing_to
from ddrnet.weights import ROWS

ROW = ROWS[0]
CONTENT = b"tensors" * 100


def filled(folder):
    folder.path.mkdir(parents=True)
    digest = hashlib.sha256(CONTENT).hexdigest()
    folder.write_record(Record("https://host/file", "verified", digest, len(CONTENT)))
    write_atomically(folder.weights, CONTENT)
    return folder


def test_lies_where_huggingface_hub_keeps_assets(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path))
    path = CacheFolder.of(ROW).path
    assert not path.exists()
    assert path == huggingface_hub.cached_assets_path("ddrnet", "weights", ROW.name)


def test_cache_dir_replaces_the_root(tmp_path):
    assert CacheFolder.of(ROW, tmp_path).path == tmp_path / "ddrnet" / "weights" / ROW.name


def test_an_empty_cache(tmp_path):
    folder = CacheFolder.of(ROW, tmp_path)
    assert not folder.is_filled()
    assert not folder.is_intact()
    assert folder.read_record() == Record()
    assert list(tmp_path.iterdir()) == []


def test_knows_damage_from_integrity(tmp_path):
    folder = filled(CacheFolder(tmp_path / "row"))
    assert folder.is_intact()
    folder.weights.write_bytes(CONTENT[:-1] + b"x")
    assert folder.is_filled()
    assert not folder.is_intact()
    folder.weights.write_bytes(CONTENT[:-1])
    assert not folder.is_filled()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"surprise": 1}', '{"seen": []}', "\x00"])
def test_a_damaged_record_counts_as_none(tmp_path, caplog, text):
    folder = filled(CacheFolder(tmp_path / "row"))
    folder.record_path.write_text(text)
    with caplog.at_level(logging.WARNING, "ddrnet"):
        assert folder.read_record() == Record()
    assert str(folder.record_path) in caplog.text
    assert not folder.is_filled()


def test_a_record_keeps_what_was_seen(tmp_path):
    folder = filled(CacheFolder(tmp_path / "row"))
    folder.write_record(folder.read_record().with_seen("https://other", "abc"))
    assert folder.read_record().seen == {"https://other": "abc"}
    assert folder.is_intact()


def test_leftovers_go(tmp_path):
    folder = filled(CacheFolder(tmp_path / "row"))
    folder.download.write_bytes(b"half")
    folder.path.joinpath(".model.safetensors.123.part").write_bytes(b"half")
    folder.remove_leftovers()
    assert {path.name for path in folder.path.iterdir()} == {"model.safetensors", "record.json"}


def test_a_failed_write_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken") as error:
        write_atomically(path, b"new")
    assert error.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_named(small_disk):
    with pytest.raises(OSError, match=r"No space left on device.*file"):
        write_atomically(small_disk / "file", bytes(2 << 20))
    assert list(small_disk.iterdir()) == []
    with pytest.raises(WeightsUnavailableError) as error, writing_to(small_disk):
        write_atomically(small_disk / "file", bytes(2 << 20))
    assert str(small_disk) in str(error.value)
    assert "cache_dir=" in str(error.value)


def test_hash_of_a_file(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    """As filelock says it before it falls back by itself."""

    def acquire(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    locked = CacheFolder(tmp_path / "row").locked()
    with pytest.raises(WeightsUnavailableError, match="no locks"), writing_to(tmp_path), locked:
        pytest.fail("it is not locked")
