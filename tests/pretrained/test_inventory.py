"""Looking at the cache without touching it."""

import hashlib
import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ddrnet.files import write_atomically
from ddrnet.pretrained import hub
from ddrnet.pretrained.inventory import find_cached, remove_cached, source_groups
from ddrnet.pretrained.weights_cache import CacheFolder, Record
from ddrnet.weights import ROWS
from ddrnet.weights.row import HubFile

ROW = ROWS[0]
CONTENT = b"tensors" * 100


def fill(root):
    folder = CacheFolder.of(ROW, root)
    folder.path.mkdir(parents=True)
    digest = hashlib.sha256(CONTENT).hexdigest()
    folder.write_record(Record(ROW.sources[0].address, "verified", digest, len(CONTENT)))
    write_atomically(folder.weights, CONTENT)
    return folder


def test_finds_and_removes(tmp_path):
    assert find_cached(ROW, tmp_path) is None
    assert remove_cached(ROW, tmp_path) == 0
    folder = fill(tmp_path)
    assert find_cached(ROW, tmp_path) == (folder.weights, len(CONTENT), "verified")
    assert remove_cached(ROW, tmp_path) == len(CONTENT)
    assert find_cached(ROW, tmp_path) is None
    assert folder.read_record().source == ROW.sources[0].address


def test_removes_what_an_interrupted_process_left(tmp_path):
    folder = fill(tmp_path)
    folder.download.write_bytes(b"half")
    remove_cached(ROW, tmp_path)
    assert {path.name for path in folder.path.iterdir()} == {".lock", "record.json"}


def test_leaves_alone_what_another_process_is_fetching(tmp_path, caplog):
    folder = fill(tmp_path)
    with caplog.at_level(logging.INFO, "ddrnet"), ThreadPoolExecutor() as threads:
        with folder.locked():
            folder.download.write_bytes(b"half")
            removed = threads.submit(remove_cached, ROW, tmp_path)
            while "waiting for another process" not in caplog.text:
                assert not removed.done()
                time.sleep(0.01)
            assert folder.download.exists()
        assert removed.result() == len(CONTENT)


def test_understands_the_home_folder_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    looked = []
    monkeypatch.setattr(hub, "find_cached", lambda _, root: looked.append(root))
    find_cached(replace(ROW, sources=(HubFile("org/name"), *ROW.sources)), "~/cache")
    assert looked == [tmp_path / "cache"]


def test_looking_writes_nothing(tmp_path):
    pinned = replace(ROW, sources=(HubFile("org/name", sha256="0" * 64), *ROW.sources))
    for row in (ROW, pinned):
        assert find_cached(row, tmp_path / "cache") is None
    assert list(tmp_path.iterdir()) == []


def test_an_organisation_comes_first(monkeypatch):
    monkeypatch.delenv("DDRNET_HUB_ORG", raising=False)
    assert source_groups(ROW) == [ROW.sources]
    monkeypatch.setenv("DDRNET_HUB_ORG", "me")
    mirror, own = source_groups(ROW)
    assert mirror == (HubFile(f"me/{ROW.name}"),)
    assert own == ROW.sources


def test_looks_at_a_read_only_disk(small_disk, as_read_only):
    folder = fill(small_disk)
    with as_read_only(small_disk):
        assert find_cached(ROW, small_disk).path == folder.weights
        with pytest.raises(OSError, match="Read-only"):
            remove_cached(ROW, small_disk)


def test_needs_no_torch():
    code = "import ddrnet.pretrained.inventory, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
