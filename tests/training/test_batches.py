"""The order of samples in ddrnet/training/batches.py."""

import os
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ddrnet
from ddrnet.training.batches import Batches, GlobalBatches
from ddrnet.training.settings import Settings


def drawn(rank, processes, size, first=0, samples=13):
    sampler = GlobalBatches(samples, size, rank, processes, seed=5)
    sampler.epoch, sampler.first = 2, first
    return list(sampler)


@given(
    processes=st.integers(1, 4),
    size=st.integers(1, 4),
    samples=st.integers(0, 40),
    first=st.integers(0, 3),
)
def test_processes_share_every_epoch_without_overlap(processes, size, samples, first):
    parts = [drawn(rank, processes, size, first, samples) for rank in range(processes)]
    together = [list(chain(*batches)) for batches in zip(*parts, strict=True)]
    assert together == drawn(0, 1, size * processes, first, samples)
    indices = list(chain(*together))
    assert len(set(indices)) == len(indices)
    whole = drawn(0, 1, size * processes, samples=samples)
    assert together == whole[first:]
    assert len(whole) == samples // (size * processes)


class Numbers(ddrnet.data.SyntheticStreets):
    """Samples that are their index and epoch."""

    def __getitem__(self, index):
        return torch.tensor(index), torch.tensor(self.epoch)


def some(stream, count):
    return [[part.tolist() for part in batch] for _, batch in zip(range(count), stream)]  # noqa: B905


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_go_on_from_any_step(workers, accelerator):
    def batches():
        settings = Settings(batch_size=2, accumulation=2, workers=workers)
        return Batches(Numbers(15, (64, 64)), settings, accelerator)

    whole = some(batches().after(0), 12)
    assert batches().steps_per_epoch == 3
    assert [epochs for _, epochs in whole] == [[0, 0]] * 6 + [[1, 1]] * 6
    for step in (2, 4):
        assert some(batches().after(step), 12 - 2 * step) == whole[2 * step :]


def test_workers_are_out_of_reach_of_signals_to_the_group(accelerator):
    class Groups(Numbers):
        def __getitem__(self, index):
            return torch.tensor(os.getpgrp()), torch.tensor(os.getpid())

    batches = Batches(Groups(2, (64, 64)), Settings(batch_size=2, workers=1), accelerator)
    groups, workers = next(batches.after(0))
    assert groups.tolist() == workers.tolist()
