import multiprocessing
import os
import shutil
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import save_png, write_cityscapes

from ddrnet.data import Cityscapes, cache, train_transform
from ddrnet.errors import DatasetError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def root(tmp_path):
    return write_cityscapes(tmp_path / "cityscapes", {"train": {"aachen": 4}})


def assert_same(one, other):
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def entries(folder):
    return sorted(folder.glob("*.safetensors"))


def test_cached_samples_are_the_decoded_ones(root, tmp_path):
    for transforms in (None, train_transform(16)):
        plain = Cityscapes(root, transforms=transforms)
        cached = Cityscapes(root, transforms=transforms, cache_dir=tmp_path / "cache")
        assert_same(plain, cached)  # built
        assert_same(plain, cached)  # mapped
    assert len(entries(tmp_path / "cache")) == 4
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".safetensors"}


def test_splits_share_a_folder(root, tmp_path):
    write_cityscapes(root, {"test": {"berlin": 1}})
    write_cityscapes(root, {"val": {"aachen": 1}}, seed=1)
    for split in ("train", "val", "test"):
        cached = Cityscapes(root, split, cache_dir=tmp_path / "cache")
        assert_same(Cityscapes(root, split), cached)
    assert len(entries(tmp_path / "cache")) == 6


def test_each_sample_is_decoded_once(root, tmp_path, monkeypatch):
    decoded = []
    read = cache.read_sample
    monkeypatch.setattr(cache, "read_sample", lambda s: decoded.append(s.name) or read(s))
    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cached.__getitem__, [0, 1, 2, 3] * 8))
    list(Cityscapes(root, cache_dir=tmp_path / "cache"))
    assert sorted(decoded) == [sample.name for sample in cached.samples]


@pytest.mark.parametrize("changed", ["image", "labels"])
def test_a_changed_file_is_decoded_again(root, tmp_path, changed):
    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    list(cached)
    path = getattr(cached.samples[1], changed)
    state = path.stat()
    save_png(path, np.full((24, 40, 3) if changed == "image" else (24, 40), 7))
    assert_same(Cityscapes(root), cached)
    assert len(entries(tmp_path / "cache")) == 4
    save_png(path, np.full((24, 40, 3) if changed == "image" else (24, 40), 8))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))  # the size stays
    assert_same(Cityscapes(root), cached)


def test_a_file_that_vanished_is_named(root, tmp_path):
    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    list(cached)
    cached.samples[2].labels.unlink()
    with pytest.raises(DatasetError, match="aachen_000002_000019_gtFine_labelIds"):
        cached[2]


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:5], lambda d: b""])
def test_a_damaged_entry_is_built_again(root, tmp_path, damage):
    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    list(cached)
    for entry in entries(tmp_path / "cache"):
        entry.write_bytes(damage(entry.read_bytes()))
    assert_same(Cityscapes(root), cached)


def test_writing_into_a_sample_changes_no_file(root, tmp_path):
    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    list(cached)
    image, _ = cached[0]
    image.zero_()
    assert_same(Cityscapes(root), cached)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of mappings")
def test_samples_are_views_of_the_mapped_file(root, tmp_path):
    cached = Cityscapes(root, label_dtype=torch.uint8, cache_dir=tmp_path / "cache")
    list(cached)
    image, labels = cached[0]
    maps = Path("/proc/self/maps").read_text().splitlines()
    ours = [line.split()[0].split("-") for line in maps if str(tmp_path / "cache") in line]
    for tensor in (image, labels):
        assert any(int(start, 16) <= tensor.data_ptr() < int(end, 16) for start, end in ours)


def test_too_small_a_disk_is_refused_with_the_size_needed(root, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 4000, 4000))
    with pytest.raises(DatasetError, match=r"needs 1\.54e-05 GB more .* 4 samples .*4e-06 GB"):
        Cityscapes(root, cache_dir=tmp_path / "cache")


def test_what_is_built_needs_no_disk(root, tmp_path, monkeypatch):
    list(Cityscapes(root, cache_dir=tmp_path / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 0))
    assert_same(Cityscapes(root), Cityscapes(root, cache_dir=tmp_path / "cache"))


def test_a_disk_that_fills_up_leaves_nothing_behind(root, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            cached[0]
    assert not list((tmp_path / "cache").glob("*.part"))
    assert_same(Cityscapes(root), cached)


def test_a_killed_build_loses_nothing(tmp_path):
    root = write_cityscapes(tmp_path / "tree", {"train": {"aachen": 40}}, size=(128, 256))
    folder = tmp_path / "cache"
    finished = 0
    for wait in (0.01, 0.03, 0.06):
        cached = Cityscapes(root, cache_dir=folder)
        builder = multiprocessing.get_context("fork").Process(target=list, args=(cached,))
        builder.start()
        time.sleep(wait)
        builder.kill()
        builder.join()
        assert len(entries(folder)) >= finished
        finished = len(entries(folder))
    assert_same(Cityscapes(root), Cityscapes(root, cache_dir=folder))
    assert not list(folder.glob("*.part"))


def test_processes_build_together(root, tmp_path):
    cached = Cityscapes(root, cache_dir=tmp_path / "cache")
    fork = multiprocessing.get_context("fork")
    builders = [fork.Process(target=list, args=(cached,)) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0] * 4
    assert_same(Cityscapes(root), cached)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".safetensors"}
