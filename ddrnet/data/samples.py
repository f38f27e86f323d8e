"""Reads and checks image files with their label files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ddrnet.data.decoding import decode_image, decode_labels, image_size
from ddrnet.errors import DatasetError
from ddrnet.labels import IGNORE_INDEX, LabelTable

_SHOWN = 10
"""Number of unknown values that an error lists."""


class Sample(NamedTuple):
    """An image file, its label file, and the meaning of the label values.

    Attributes:
        name: The common name of the files, unique within the data set.
        image: The image file.
        labels: The label file; None for an image without annotation, whose pixels are all ignored.
        table: The classes of the values or colours in the label file.
    """

    name: str
    image: Path
    labels: Path | None
    table: LabelTable


def read_sample(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return the image, (3, H, W) uint8 RGB, and its train ids, (H, W) uint8, 255 where ignored.

    Raises:
        DatasetError: If a file is missing or unreadable, the two differ in size, or a label value
            belongs to no class.
    """
    try:
        image = decode_image(sample.image)
    except (OSError, ValueError) as error:
        raise DatasetError(str(error)) from error
    labels = read_labels(sample)
    if image.shape[1:] != labels.shape:
        (height, width), (label_height, label_width) = image.shape[1:], labels.shape
        raise DatasetError(
            f"an image and its labels must have the same size: {sample.image} is "
            f"{width} x {height}, {sample.labels} is {label_width} x {label_height}"
        )
    return image, labels


def read_labels(sample: Sample) -> Tensor:
    """Return the train ids alone, (H, W) uint8, 255 where ignored or not annotated.

    Raises:
        DatasetError: If the file is missing or unreadable, or a value belongs to no class.
    """
    try:
        if sample.labels is None:
            return torch.full(image_size(sample.image), IGNORE_INDEX, dtype=torch.uint8)
        values = decode_labels(sample.labels)
    except (OSError, ValueError) as error:
        raise DatasetError(str(error)) from error
    train_ids = _of_colors if values.ndim == 3 else _of_ids
    return torch.from_numpy(train_ids(values, sample.table, sample.labels))


def unreadable(samples: Sequence[Sample]) -> Iterator[str]:
    """Read every sample; yield one message per unreadable sample.

    Several threads decode; a bar on a terminal shows the progress.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = pool.map(_problem, samples)
        yield from filter(None, tqdm(problems, total=len(samples), unit="image", disable=None))


def _problem(sample: Sample) -> str:
    try:
        read_sample(sample)
    except DatasetError as error:
        return str(error)
    return ""


def _of_ids(values: NDArray[Any], table: LabelTable, path: Path) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        unknown = sorted(set(values.tobytes().translate(None, bytes(table.known_ids))))
    else:
        unknown = np.setdiff1d(values, list(table.known_ids)).tolist()
    if unknown:
        hint = table.hint and f"; {table.hint.replace('{value}', str(unknown[0]))}"
        raise DatasetError(
            f"{path} holds label values that {table.name} does not have: {_shortened(unknown)}; "
            f"expected {_ranges(table.known_ids)}{hint}"
        )
    return np.frombuffer(table.id_to_train_id, np.uint8).take(values)


def _of_colors(values: NDArray[np.uint8], table: LabelTable, path: Path) -> NDArray[np.uint8]:
    train_ids, known = _color_tables(table)
    codes = values.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    strange = codes[~known[codes]]
    if strange.size:
        colors = [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(strange).tolist()]
        raise DatasetError(
            f"{path} holds colours that {table.name} does not have: {_shortened(colors)}; "
            f"expected those of its {len(table.rows)} rows, or a PNG of label values. Give each "
            "class its colour: {'water': (0, 0, 255)} in Python, 'water 0 0 255' in classes.txt; "
            "ignore a colour: ClassLabel('void', (9, 9, 9), 255), or 'void 9 9 9 ignore' there"
        )
    return train_ids[codes]


@cache
def _color_tables(table: LabelTable) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the train id of every 24-bit colour, and whether the colour is known."""
    train_ids = np.full(1 << 24, IGNORE_INDEX, np.uint8)
    known = np.zeros(1 << 24, np.bool_)
    for (red, green, blue), train_id in table.color_to_train_id.items():
        code = red << 16 | green << 8 | blue
        train_ids[code], known[code] = train_id, True
    return train_ids, known


def _shortened(values: list[Any]) -> str:
    more = len(values) - _SHOWN
    return ", ".join(map(str, values[:_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _ranges(values: frozenset[int]) -> str:
    """Return numbers as text, consecutive ones as a range: '0-33, 255'."""
    starts = sorted(value for value in values if value - 1 not in values)
    ends = sorted(value for value in values if value + 1 not in values)
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in zip(starts, ends, strict=True))
