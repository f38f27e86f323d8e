"""Fixtures of the training tests."""

import signal
import sys
from pathlib import Path

import accelerate
import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def fresh_process():
    """Use one thread, as the other processes do; restore signals and accelerate's state after."""
    threads, handlers = torch.get_num_threads(), [signal.getsignal(n) for n in (2, 15)]
    torch.set_num_threads(1)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    torch.set_num_threads(threads)
    for number, handler in zip((2, 15), handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def accelerator(fresh_process):
    """The accelerator of one process on the CPU."""
    return accelerate.Accelerator(cpu=True)
