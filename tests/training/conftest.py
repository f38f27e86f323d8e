"""What the tests of training share."""

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
    """One thread, as the other processes have; accelerate's state and the signals as before."""
    threads, handlers = torch.get_num_threads(), [signal.getsignal(n) for n in (2, 15)]
    torch.set_num_threads(1)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    torch.set_num_threads(threads)
    for number, handler in zip((2, 15), handlers, strict=True):
        signal.signal(number, handler)
