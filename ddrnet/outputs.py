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
