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

    A pixel whose prediction is none of the classes is a miss of its true class. What no pixel
    decides is NaN, a class that is neither present nor predicted among it.

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
