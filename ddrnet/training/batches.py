"""The batches of a run; their order depends on the seed and the step alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import accelerate
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ddrnet.data import SegmentationDataset
from ddrnet.data.dataset import iterate
from ddrnet.training.settings import Settings


class GlobalBatches(Sampler[list[int]]):
    """Sample numbers of this process's batches in one epoch, from batch `first` on.

    All processes together draw the batches of one process with a larger batch size. Samples that
    do not fill a batch of every process are left out of the epoch.
    """

    def __init__(self, samples: int, batch_size: int, rank: int, processes: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch = self.first = 0

    def __len__(self) -> int:
        return self.samples // (self.batch_size * self.processes)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.samples).tolist()
        for batch in range(self.first, len(self)):
            start = (batch * self.processes + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]


class Batches:
    """Images and labels for this process, from any step of a run on.

    Raises:
        ValueError: If there are fewer samples than one step takes.
    """

    def __init__(
        self, dataset: SegmentationDataset, settings: Settings, accelerator: accelerate.Accelerator
    ) -> None:
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.dataset, self.accumulation = dataset, settings.accumulation
        self.sampler = GlobalBatches(
            len(dataset), settings.batch_size, rank, processes, settings.seed
        )
        self.loader = DataLoader(
            dataset,
            batch_sampler=self.sampler,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),  # leaves torch's global generator alone
            worker_init_fn=_leave_group,
        )
        self.samples_per_step = settings.batch_size * settings.accumulation * processes
        self.steps_per_epoch = len(self.sampler) // settings.accumulation
        if not self.steps_per_epoch:
            raise ValueError(
                f"{len(dataset)} images are fewer than the {self.samples_per_step} of one step "
                "(batch size x accumulation x processes): pass a lower --batch-size"
            )

    def after(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches that follow `step` steps of the run, without end.

        A batch is images, (N, 3, H, W) uint8, and labels, (N, H, W) uint8.

        Raises:
            DatasetError: If a sample cannot be read.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        while True:
            self.dataset.set_epoch(epoch)
            self.sampler.epoch, self.sampler.first = epoch, position * self.accumulation
            wanted = (self.steps_per_epoch - position) * self.accumulation
            for _, batch in zip(range(wanted), iterate(self.loader), strict=False):
                yield batch
            epoch, position = epoch + 1, 0


def _leave_group(worker: int) -> None:
    """Leave the process group: signals to the group are meant for the training process."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
