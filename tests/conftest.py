"""Settings that hold for every test."""

import os

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


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request):
    """Each device that this machine has."""
    return torch.device(request.param)
