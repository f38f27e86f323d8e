"""Folds BatchNorm into the convolutions before it, for inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
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
    for path, norm_path in _pairs(fused):
        layer, norm = fused.get_submodule(path), fused.get_submodule(norm_path)
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        fused.set_submodule(path, fuse_conv_bn_eval(layer, norm))
        fused.set_submodule(norm_path, nn.Identity())
    return fused


def fused_scales(model: DDRNet) -> dict[str, Tensor]:
    """Return what `fuse` multiplies the weights of convolutions by: name of the weights -> factors.

    Each tensor holds one factor per output channel, (C, 1, 1, 1).
    """
    scales = {}
    for path, norm_path in _pairs(model):
        norm = model.get_submodule(norm_path)
        assert isinstance(norm, _BatchNorm)
        assert norm.running_var is not None
        factors = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
        scales[f"{path}.weight"] = factors[:, None, None, None]
    return scales


def _pairs(model: DDRNet) -> Iterator[tuple[str, str]]:
    """Yield the paths of each convolution and of the BatchNorm that follows it."""
    for path, module in list(model.named_modules()):
        # Every module of the network calls its children in the order of their registration.
        for (name, layer), (next_name, next_layer) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(next_layer, _BatchNorm):
                prefix = f"{path}." if path else ""
                yield prefix + name, prefix + next_name
