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
def small_disk(tmp_path, request):
    """A folder on a disk of its own, of 1 MiB or the size in the test's parameter."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = getattr(request, "param", "1m")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


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
