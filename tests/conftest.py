"""Settings that hold for every test."""

import functools
import os
from contextlib import contextmanager

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest
import torch
from hypothesis import settings

settings.register_profile("ddrnet", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("ddrnet")
# Workers of pytest-xdist share the processors among themselves.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Start every test from the same random state."""
    torch.manual_seed(0)


CUDA = ["cuda"] if torch.cuda.is_available() else []


@pytest.fixture(params=["cpu", *CUDA])
def device(request):
    """Each device that this machine has."""
    return torch.device(request.param)


@pytest.fixture(params=["meta", *CUDA])
def accelerator_device(request):
    """A device that nothing should wait for; the meta device stands in where there is no other."""
    return torch.device(request.param)


@pytest.fixture
def no_waiting():
    """A context in which waiting for a device raises; tensors of the meta device always do."""

    @contextmanager
    def watch():
        if CUDA:
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            if CUDA:
                torch.cuda.set_sync_debug_mode("default")

    return watch


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Exports a model once for all workers: `exported("nano.labels.onnx")` is the path."""
    from exported_files import export_once

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return functools.partial(export_once, shared / "exported")
