"""Measures the sizes of the images and the shares of the classes in a data set."""

from __future__ import annotations

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from ddrnet.data.dataset import FileDataset
from ddrnet.labels import IGNORE_INDEX

_BAR, _LINE, _MARGIN = 400, 24, 12  # pixels


class DataStatistics(NamedTuple):
    """Counts over a whole data set.

    Attributes:
        images: Number of images.
        sizes: Number of images by (height, width) in pixels, the most frequent size first.
        pixels: Number of labelled pixels of each class, in the order of the classes.
        ignored: Number of pixels without a class.
        images_with: Number of images in which each class occurs.
    """

    images: int
    sizes: dict[tuple[int, int], int]
    pixels: tuple[int, ...]
    ignored: int
    images_with: tuple[int, ...]

    @property
    def shares(self) -> tuple[float, ...]:
        """The fraction of each class among the labelled pixels; NaN without labelled pixels."""
        labelled = sum(self.pixels)
        return tuple(count / labelled if labelled else math.nan for count in self.pixels)

    @property
    def ignored_share(self) -> float:
        """The fraction of pixels without a class; NaN without pixels."""
        total = sum(self.pixels) + self.ignored
        return self.ignored / total if total else math.nan


def measure(dataset: FileDataset) -> DataStatistics:
    """Read and count all labels of a data set; a bar on a terminal shows the progress.

    Raises:
        DatasetError: If a file is missing or unreadable, or a label value belongs to no class.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(IGNORE_INDEX + 1, np.int64)
    images_with = np.zeros(IGNORE_INDEX + 1, np.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        maps = pool.map(dataset.read_labels, range(len(dataset)))
        for labels in tqdm(maps, total=len(dataset), unit="image", disable=None):  # (H, W)
            counts = torch.bincount(labels.flatten(), minlength=IGNORE_INDEX + 1).numpy()
            sizes[labels.shape[0], labels.shape[1]] += 1
            pixels += counts
            images_with += counts > 0
    classes = len(dataset.classes)
    return DataStatistics(
        images=len(dataset),
        sizes=dict(sizes.most_common()),
        pixels=tuple(pixels[:classes].tolist()),
        ignored=int(pixels[IGNORE_INDEX]),
        images_with=tuple(images_with[:classes].tolist()),
    )


def draw_shares(dataset: FileDataset, statistics: DataStatistics) -> Image.Image:
    """Draw the share of each class as a bar in the colour of the class."""
    font = ImageFont.load_default(14)
    names = [row.name for row in dataset.classes]
    left = 2 * _MARGIN + max(round(font.getlength(name)) for name in names)
    right = _MARGIN + round(font.getlength("100.00 %"))
    size = left + _BAR + right + _MARGIN, 2 * _MARGIN + _LINE * (len(names) + 1)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    title = f"Share of labelled pixels, {statistics.images} images"
    draw.text((_MARGIN, _MARGIN), title, "black", font)
    shares = [0.0 if math.isnan(share) else share for share in statistics.shares]
    longest = max(shares) or 1
    for line, (row, share) in enumerate(zip(dataset.classes, shares, strict=True), 1):
        top = _MARGIN + _LINE * line
        end = left + round(_BAR * share / longest)
        draw.text((left - _MARGIN // 2, top + _LINE / 2), row.name, "black", font, "rm")
        draw.rectangle((left, top + 3, end, top + _LINE - 3), row.color, "black")
        draw.text((end + _MARGIN // 2, top + _LINE / 2), f"{share:.2%}", "black", font, "lm")
    return picture
