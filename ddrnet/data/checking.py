"""A whole data set read through: everything that is wrong with it, not only the first thing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from ddrnet.data.samples import Sample, read_sample
from ddrnet.errors import DatasetError


def unreadable(samples: Sequence[Sample]) -> Iterator[str]:
    """Decode every image and label file; yield one message per unreadable sample.

    Several threads decode; a bar on a terminal shows how far they are.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_problem, samples)
        for problem in tqdm(found, total=len(samples), unit="image", disable=None):
            if problem is not None:
                yield problem


def _problem(sample: Sample) -> str | None:
    try:
        read_sample(sample)
    except DatasetError as error:
        return str(error)
    return None
