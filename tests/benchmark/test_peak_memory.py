import platform
import subprocess

import pytest
import torch
from PIL import Image

from ddrnet.benchmark import peak_memory
from ddrnet.benchmark.pipelines import Way
from ddrnet.benchmark.subject import Subject
from ddrnet.errors import DDRNetError

CPU = torch.device("cpu")
NANO = Subject("ddrnet_23_nano.synthetic")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.effect_noise((768, 512), 80).convert("RGB").save(path)
    return path


LOGITS_MIB = 19 * 512 * 768 * 4 / 2**20
"""Full-resolution logits of the picture."""

linux_only = pytest.mark.skipif(platform.system() != "Linux", reason="only Linux tells the peak")


@pytest.mark.slow
@linux_only
def test_the_plain_pipeline_needs_at_least_its_full_resolution_logits(picture):
    peak = peak_memory.peak_mib(NANO, Way(), picture, CPU, 1)
    assert LOGITS_MIB < peak < 20 * LOGITS_MIB


@linux_only
@pytest.mark.slow
def test_the_predictor_needs_less(picture):
    plain, ours = (
        peak_memory.peak_mib(NANO, way, picture, CPU, 1) for way in (Way(), Way("torch"))
    )
    assert 0 < ours < plain - LOGITS_MIB / 2


def test_nothing_is_measured_where_the_system_does_not_tell(picture, monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "_STATUS", tmp_path / "absent")
    assert peak_memory.peak_mib(NANO, Way(), picture, CPU, 1) is None


@linux_only
def test_a_failed_process_is_an_error_with_its_last_line(picture, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Traceback >&2\necho MemoryError: no memory >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(peak_memory.sys, "executable", str(python))
    with pytest.raises(DDRNetError, match=r"failed \(3\): MemoryError: no memory"):
        peak_memory.peak_mib(NANO, Way(), picture, CPU, 1)


@linux_only
def test_a_process_inherits_no_peak():
    large = torch.ones(1 << 26)  # 256 MiB
    command = ["grep", "VmHWM", "/proc/self/status"]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(line.split()[1]) < large.nbytes / 1024 / 10
