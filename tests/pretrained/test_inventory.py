"""Looking at the cache without touching it."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import pytest

from ddrnet.pretrained.cache import CacheFolder, Record, write_atomically
from ddrnet.pretrained.inventory import find_cached, remove_cached, source_groups
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
    assert [path.name for path in folder.path.iterdir()] == ["record.json"]


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
