"""What the network and the metrics return."""

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
    """How well predictions agree with the truth over a whole data set; ratios are fractions.

    A pixel whose prediction is none of the classes is a miss of its true class. Scores without
    counted pixels are NaN, e.g. of a class neither present nor predicted.

    Attributes:
        mean_iou: Mean intersection over union of the classes that are not NaN.
        iou: (K,) float64, of each class.
        category_iou: Of each category, whose classes count as one; empty without categories.
        pixel_accuracy: Share of pixels predicted right.
        frequency_weighted_iou: Mean over the classes, each weighted by its share of the pixels.
        confusion: (K, K) int64, pixels by true class (row) and predicted class (column).
        outside: (K,) int64, pixels of each true class whose prediction is none of the classes.
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
