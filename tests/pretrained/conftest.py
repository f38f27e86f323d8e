"""Fixtures of the tests of fetching and saving: a server, and disks that refuse."""

import shutil
import subprocess
from contextlib import contextmanager

import pytest
import torch
from loopback import Loopback

from ddrnet.labels import ClassLabel
from ddrnet.network import DDRNet
from ddrnet.variants import DDRNetConfig
from ddrnet.weights.row import Preprocessing

TINY = DDRNetConfig(4, (1, 1), ((16, 1), (32, 1)), dappm_width=8, head_width=4)
CLASSES = (
    ClassLabel("field", (0, 128, 0), 0, category="ground"),
    ClassLabel("Straße", (90, 90, 90), 1, id=7),
    ClassLabel("sky", (1, 2, 3), 2),
    ClassLabel("tree", (4, 5, 6), 3),
    ClassLabel("person", (220, 20, 60), 4, has_instances=True),
)


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
    if shutil.which("mount") is None:
        pytest.skip("cannot mount a small disk: there is no mount command")
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


@pytest.fixture
def tuned_model():
    """A model that differs from the defaults in everything."""
    preprocessing = Preprocessing((0.1, 0.2, 0.3, 1 / 3), (1.0, 2.0, 3.0, 0.1))
    model = DDRNet(
        TINY, 5, 4, aux_head=True, upsample=False, classes=CLASSES, preprocessing=preprocessing
    )
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
    return model.eval()
