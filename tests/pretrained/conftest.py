"""What the tests of fetching and saving share: a server, and disks that refuse."""

import subprocess
from contextlib import contextmanager

import pytest
from loopback import Loopback


@pytest.fixture
def server():
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own of 1 MiB, and a way to make it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder):
    """Make a small disk read-only for a while."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


@pytest.fixture
def as_read_only():
    return read_only
