from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LargestTensor(TorchDispatchMode):
    """Remembers how many elements the largest result of any operation had."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                self.numel = max(self.numel, leaf.numel())
        return result


@pytest.fixture
def largest_tensor():
    """A context that records the size of the largest floating-point tensor made inside."""

    @contextmanager
    def watch():
        with LargestTensor() as mode:
            yield mode

    return watch
