"""A whole data set read through: everything that is wrong with it, not the first thing only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ddrnet.data import camvid, cityscapes
from ddrnet.data.samples import Sample, read_sample
from ddrnet.data.trees import Scan
from ddrnet.errors import DatasetError

_EXPECTED = (
    "leftImg8bit/train/CITY/CITY_000000_000000_leftImg8bit.png (Cityscapes)",
    "train.txt, train/NAME.png, trainannot/NAME.png (CamVid)",
    f"{camvid.RAW_IMAGES}/NAME.png, {camvid.RAW_LABELS}/NAME_L.png (CamVid)",
)


def scan_tree(root: str | os.PathLike[str]) -> dict[str, Scan]:
    """Return the splits of a Cityscapes or CamVid folder and what each is missing.

    Raises:
        DatasetError: If the folder has the layout of neither.
    """
    folder = Path(root)
    scans = cityscapes.scan_every_split(folder) or camvid.scan_every_split(folder)
    if not scans:
        nothing = Scan((), ("no layout that is known",), _EXPECTED)
        nothing.complete_samples("data set", folder)
    return scans


def unreadable(samples: Sequence[Sample]) -> Iterator[str]:
    """Decode every image and label file; yield what is wrong with each that is not as it should be.

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
