"""The results of the network and of the metrics."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SegmentationOutput(NamedTuple):
    """Logits of a model with an auxiliary head, in training and in evaluation.

    Attributes:
        logits: (N, K, H, W), or (N, K, ceil(H/8), ceil(W/8)) while `model.upsample` is False.
        aux_logits: (N, K, ceil(H/8), ceil(W/8)), always at stride 8.
    """

    logits: Tensor
    aux_logits: Tensor


class SegmentationScores(NamedTuple):
    """Scores of predictions over a whole data set, as fractions.

    A pixel with a prediction outside of the classes counts as a miss of its true class. Scores
    without counted pixels are NaN, e.g. of a class neither present nor predicted.

    Attributes:
        mean_iou: Mean intersection over union of the classes, without NaN.
        iou: (K,) float64, intersection over union of each class.
        category_iou: IoU of each category, with its classes merged; empty without categories.
        pixel_accuracy: Share of correctly predicted pixels.
        frequency_weighted_iou: Mean IoU of the classes, weighted by their shares of the pixels.
        confusion: (K, K) int64, pixels by true class (row) and predicted class (column).
        outside: (K,) int64, pixels of each true class with a prediction outside of the classes.
    """

    mean_iou: float
    iou: Tensor
    category_iou: dict[str, float]
    pixel_accuracy: float
    frequency_weighted_iou: float
    confusion: Tensor
    outside: Tensor

    def __repr__(self) -> str:
        iou = ", ".join(f"{value:.4f}" for value in self.iou.tolist())
        return (
            f"SegmentationScores(mean_iou={self.mean_iou:.4f}, "
            f"pixel_accuracy={self.pixel_accuracy:.4f}, "
            f"frequency_weighted_iou={self.frequency_weighted_iou:.4f}, "
            f"pixels={int(self.confusion.sum() + self.outside.sum())}, iou=[{iou}])"
        )
