"""Losses on logits at any stride, without full-resolution logits in memory.

The supervised losses take logits (N, K, h, w) and a target (N, H, W) of any integer dtype; the
distillation loss takes the logits of two networks. All return a scalar in float32, inside autocast
too (float64 where the logits are). Where no pixel counts, the loss is 0 with zero gradients. On a
CPU a label that is no class raises ValueError. Other devices would have to wait for such a check,
so check labels when they are read.
"""

from ddrnet.losses.class_weights import LabelledDataset, Method, class_weights_from
from ddrnet.losses.distillation import DistillationLoss
from ddrnet.losses.supervised import (
    MIN_KEPT,
    AuxiliaryLoss,
    CrossEntropyLoss,
    OhemCrossEntropyLoss,
)

__all__ = [
    "MIN_KEPT",
    "AuxiliaryLoss",
    "CrossEntropyLoss",
    "DistillationLoss",
    "LabelledDataset",
    "Method",
    "OhemCrossEntropyLoss",
    "class_weights_from",
]
