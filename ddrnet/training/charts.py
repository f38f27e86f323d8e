"""Pictures of a run: its curves, and the scores of its classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ddrnet.files import StrPath, open_atomically
from ddrnet.labels import ClassLabel
from ddrnet.outputs import SegmentationScores

_SMOOTHING = 0.8
"""Weight of the former average in the running average of the loss."""

_MOST_NUMBERS = 20
"""Largest number of classes for which every cell of the confusion matrix shows its number."""


def draw_curves(picture: StrPath, logs: Sequence[StrPath]) -> None:
    """Draw loss, learning rate and validation mean IoU over epochs, a colour per log.

    Args:
        picture: The PNG file to write.
        logs: The `log.jsonl` of one or more runs.

    Raises:
        OSError: If a log cannot be read or the picture cannot be written.
    """
    figure = Figure(figsize=(7, 7), dpi=110, layout="constrained")
    losses, rates, scores = figure.subplots(3, sharex=True, height_ratios=(3, 1, 2))
    for number, log in enumerate(map(Path, logs)):
        color, name = f"C{number}", log.parent.name if log.stem == "log" else log.stem
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        steps = [row for row in rows if row.get("loss") is not None]
        epochs = [row["epoch"] for row in steps]
        loss = [row["loss"] for row in steps]
        losses.plot(epochs, loss, color=color, alpha=0.25, linewidth=0.8)
        losses.plot(epochs, _smoothed(loss), color=color, label=name)
        rates.plot(epochs, [row["lr"] for row in steps], color=color)
        epoch_of = {row["step"]: row["epoch"] for row in steps}
        valid = [row for row in rows if row.get("mean_iou") is not None]
        points = [(epoch_of[row["step"]], row["mean_iou"]) for row in valid]
        scores.plot(*np.reshape(points, (-1, 2)).T, "o-", color=color, markersize=3)
    losses.set(ylabel="training loss", yscale="log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(NullFormatter())
    rates.set(ylabel="learning rate")
    scores.set(ylabel="validation mean IoU", xlabel="epoch")
    if len(logs) > 1:
        losses.legend()
    for axes in (losses, rates, scores):
        axes.grid(alpha=0.3)
    _write(figure, picture)


def draw_classes(
    picture: StrPath, scores: SegmentationScores, classes: Sequence[ClassLabel]
) -> None:
    """Draw the IoU of every class as bars in the colours of the classes."""
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(classes)), dpi=110, layout="constrained")
    axes = figure.subplots()
    iou = scores.iou.nan_to_num().tolist()
    colors = [tuple(value / 255 for value in row.color) for row in classes]
    bars = axes.barh(range(len(classes)), iou, color=colors, edgecolor="grey", linewidth=0.5)
    texts = ["no pixels" if value != value else f"{value:.1%}" for value in scores.iou.tolist()]
    readable = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # in front of the line
    axes.bar_label(bars, texts, padding=4, fontsize=8, bbox=readable)
    axes.axvline(scores.mean_iou, color="black", linewidth=1, linestyle="--")
    axes.set(title=f"mean IoU {scores.mean_iou:.1%}", xlabel="IoU", xlim=(0, 1.12))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks(range(len(classes)), [row.name for row in classes])
    axes.invert_yaxis()  # the first class on top
    _write(figure, picture)


def draw_confusion(
    picture: StrPath, scores: SegmentationScores, classes: Sequence[ClassLabel]
) -> None:
    """Draw the confusion matrix; each row shows where the pixels of one true class went."""
    side = 2.5 + 0.38 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    counts = scores.confusion.double()  # (K, K), rows are true classes
    shares = counts / counts.sum(1, keepdim=True)  # NaN where a class has no pixels
    image = axes.imshow(100 * shares.numpy(), cmap="Blues", vmin=0, vmax=100)
    for row, column in torch.nonzero(shares >= 0.005).tolist():
        if len(classes) <= _MOST_NUMBERS:
            share = float(shares[row, column])
            color = "white" if share > 0.5 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "color": color, "fontsize": 7}
            axes.text(column, row, f"{100 * share:.0f}", **style)
    names = [row.name for row in classes]
    axes.set(xlabel="predicted", ylabel="true", title="percent of the pixels of each true class")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    figure.colorbar(image, ax=axes, shrink=0.8)
    _write(figure, picture)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Return the exponential running averages; the first value weighs no more than another."""
    averages, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = _SMOOTHING * total + value, _SMOOTHING * weight + 1
        averages.append(total / weight)
    return averages


def _write(figure: Figure, picture: StrPath) -> None:
    with open_atomically(picture) as file:
        figure.savefig(file, format="png")
