"""Folders and records of the cache, and how much is known of a file."""

import hashlib
import logging

import huggingface_hub
import pytest
from huggingface_hub import constants

from ddrnet.errors import WeightsUnavailableError
from ddrnet.files import write_atomically
from ddrnet.pretrained.connections import SourceError
from ddrnet.pretrained.weights_cache import CacheFolder, Record, writing_to
from ddrnet.weights import ROWS
from ddrnet.weights.row import HubFile, WebFile

ROW = ROWS[0]
CONTENT = b"tensors" * 100
CHECKPOINT = b"checkpoint"
DIGEST = hashlib.sha256(CHECKPOINT).hexdigest()
LINK = ("https://host/file.pth",)


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
    with folder.locked():
        kept = {path.name for path in folder.path.iterdir()}
    assert kept == {".lock", "model.safetensors", "record.json"}


def test_a_full_disk_is_named(small_disk):
    with pytest.raises(OSError, match=r"No space left on device.*file"):
        write_atomically(small_disk / "file", bytes(2 << 20))
    assert list(small_disk.iterdir()) == []
    with pytest.raises(WeightsUnavailableError) as error, writing_to(small_disk):
        write_atomically(small_disk / "file", bytes(2 << 20))
    assert str(small_disk) in str(error.value)
    assert "cache_dir=" in str(error.value)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    """Older releases of filelock raise NotImplementedError instead of falling back."""

    def acquire(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    locked = CacheFolder(tmp_path / "row").locked()
    with pytest.raises(WeightsUnavailableError, match="no locks"), writing_to(tmp_path), locked:
        pytest.fail("it is not locked")


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CHECKPOINT)
    return path, CacheFolder(tmp_path)


@pytest.mark.parametrize(
    ("source", "verification"),
    [
        (WebFile(LINK, sha256=DIGEST), "verified"),
        (WebFile(LINK, sha256=DIGEST, size=len(CHECKPOINT)), "verified"),
        (HubFile("me/model", sha256=DIGEST), "verified"),
        (WebFile(LINK, sha256=DIGEST[:8]), "verified by prefix"),
        (WebFile(LINK, sha256=DIGEST, enforced=False), "as others report"),
        (WebFile(LINK), "recorded locally, not verified"),
        (HubFile("me/model"), "recorded locally, not verified"),
    ],
)
def test_says_how_much_is_known(files, source, verification, caplog):
    path, folder = files
    assert folder.verify(source, path) == (verification, DIGEST)
    assert not caplog.records


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (WebFile(LINK, sha256="0" * 64), f"has sha256 {DIGEST}, expected 000"),
        (WebFile(LINK, sha256="01234567"), f"has sha256 {DIGEST[:8]}, expected 01234567"),
        (WebFile(LINK, sha256=DIGEST, size=11), "has 10 bytes, expected 11"),
        (HubFile("me/model", sha256="0" * 64), "expected 000"),
    ],
)
def test_refuses_another_file(files, source, reason):
    path, folder = files
    with pytest.raises(SourceError, match=reason):
        folder.verify(source, path)


def test_warns_where_only_others_report_another_hash(files, caplog):
    path, folder = files
    source = WebFile(LINK, sha256="0" * 64, size=11, enforced=False)
    with caplog.at_level(logging.WARNING, "ddrnet"):
        verdict = folder.verify(source, path)
    assert verdict.verification == "recorded locally, not verified"
    assert f"10 bytes with sha256 {DIGEST} instead of {'0' * 64}" in caplog.text


def test_compares_with_what_was_seen_first(files):
    path, folder = files
    folder.write_record(Record().with_seen(LINK[0], DIGEST))
    assert folder.verify(WebFile(LINK), path).sha256 == DIGEST
    path.write_bytes(b"another")
    with pytest.raises(SourceError, match=r"changed since it was first fetched.*delete .*record"):
        folder.verify(WebFile(LINK), path)
    assert folder.verify(WebFile(("https://elsewhere/file.pth",)), path)
