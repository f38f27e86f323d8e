"""Folds BatchNorm into the convolutions before it, for inference."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ddrnet.network import DDRNet


def fuse(model: DDRNet) -> DDRNet:
    """Return a copy for inference in which convolutions contain the BatchNorm that follows them.

    The copy computes the same logits within rounding, with fewer passes over memory. BatchNorm that
    follows a pooling or another addition stays: that of DAPPM and the first one of each head. The
    copy is in evaluation mode and cannot be saved by `save_pretrained`; save the original.

    Args:
        model: The model; it is not changed.

    Raises:
        TypeError: If `model` is not a `DDRNet`.
    """
    if not isinstance(model, DDRNet):
        raise TypeError(
            f"expected a DDRNet, got {type(model).__name__}; unwrap it first (model.module of "
            "DistributedDataParallel, the model that torch.compile was given)"
        )
    fused = copy.deepcopy(model).eval()
    for module in fused.modules():
        # Every module of the network calls its children in the order of their registration.
        for (name, layer), (next_name, next_layer) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(next_layer, _BatchNorm):
                setattr(module, name, fuse_conv_bn_eval(layer, next_layer))
                setattr(module, next_name, nn.Identity())
    return fused
