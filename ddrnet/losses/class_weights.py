"""Class weights from the labels of a data set."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from ddrnet.labels import IGNORE_INDEX
from ddrnet.upsampling.cross_entropy import counted_pixels

Method = Literal["inverse_log", "median_frequency"]
"""Formulas from shares of pixels to class weights."""


class LabelledDataset(Protocol):
    """A data set for `class_weights_from`: pairs of image and labels.

    A method `read_labels(index)` is optional; it saves decoding the images.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


def class_weights_from(
    dataset: LabelledDataset,
    num_classes: int | None = None,
    *,
    method: Method = "inverse_log",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Compute weights that favour rare classes, from the labels of a whole data set.

    Args:
        dataset: The data set; its labels are read once, by `read_labels` where it has that method.
        num_classes: By default the number of `dataset.classes`.
        method: "inverse_log" is 1 / ln(1.02 + the class's share of the pixels);
            "median_frequency" is m / f, where f is the class's share of the pixels of the images
            that show it, and m the median of f over the classes.
        ignore_index: The label of pixels that do not count.

    Returns:
        (K,) float32. The weights of the classes that occur average 1, so that the loss keeps its
        scale; a class that never occurs has 1.

    Raises:
        ValueError: If a label is no class, nothing is labelled, or `num_classes` is not known.

    Source: ENet, arXiv 1606.02147; median frequency balancing, arXiv 1411.4734.
    """
    classes = num_classes or len(getattr(dataset, "classes", ()))
    if classes < 1:
        raise ValueError("the data set has no `classes`: pass num_classes")
    if method not in get_args(Method):
        raise ValueError(f"method is one of {get_args(Method)}, got {method!r}")
    if len(dataset) == 0:
        raise ValueError("the data set is empty, so classes have no shares")
    read = getattr(dataset, "read_labels", None) or (lambda index: dataset[index][1])
    maps = (read(index) for index in range(len(dataset)))  # each (H, W)
    counts = torch.stack([_count(labels, classes, ignore_index) for labels in maps])  # (images, K)
    present = counts.sum(0) > 0  # (K,)
    if not present.any():
        raise ValueError("no pixel of the data set is labelled, so classes have no shares")
    total = counts.sum(0).double()  # (K,)
    if method == "inverse_log":
        weights = 1 / torch.log(1.02 + total / total.sum())
    else:
        pixels = counts.sum(1, keepdim=True)  # (images, 1)
        share = total / ((counts > 0) * pixels).sum(0)  # (K,)
        weights = share.nanquantile(0.5) / share
    return torch.where(present, weights / weights[present].mean(), 1).float()


def _count(labels: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Count the pixels of each class: (classes,)."""
    counted = labels[counted_pixels(labels, ignore_index)].long()  # (counted pixels,)
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        wrong = torch.unique(counted[(counted < 0) | (counted >= classes)]).tolist()
        raise ValueError(
            f"labels hold {wrong}, expected 0 to {classes - 1} or the ignored {ignore_index}"
        )
    return torch.bincount(counted, minlength=classes)
