"""Describes a state dict under this library's names by its tensor shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from ddrnet.variants import CLASSIFIER, HEADS, OUTPUT_STRIDE, VARIANTS, DDRNetConfig, FusionStage


class Contents(NamedTuple):
    """The content of a state dict.

    Attributes:
        config: The size, or None if tensors that determine it are missing. The size of a backbone
            is known only if one of the library's sizes has such a backbone.
        num_classes: Channels of the logits, or None without a segmentation head.
        in_chans: Channels of the images, or None without a first convolution.
        has_aux_head: Whether there is an auxiliary head.
        is_backbone: Whether there is neither DAPPM nor a head, as in a classifier.
        has_classifier: Whether there are last layers of an ImageNet classifier.
    """

    config: DDRNetConfig | None
    num_classes: int | None
    in_chans: int | None
    has_aux_head: bool
    is_backbone: bool
    has_classifier: bool = False


def describe(state: Mapping[str, Tensor]) -> Contents:
    """Describe a state dict under this library's names; it may be incomplete."""
    is_backbone = not any(key.startswith(HEADS) for key in state)
    return Contents(
        config=_backbone_config(state) if is_backbone else _config(state),
        num_classes=_channels(state, "head.conv2.weight"),
        in_chans=_channels(state, "stem.0.weight", 1),
        has_aux_head=any(key.startswith("aux_head.") for key in state),
        is_backbone=is_backbone,
        has_classifier=any(key.startswith(CLASSIFIER) for key in state),
    )


def fusion_strides(state: Iterable[str]) -> tuple[int, ...]:
    """Return the stride of each fusion stage, from the tensor names alone.

    Each convolution from the high to the low resolution doubles the stride.
    """
    depths: dict[int, int] = {}
    for key in state:
        match = re.fullmatch(r"fusion_stages\.(\d+)\.high_to_low\.(\d+)\.weight", key)
        if match and int(match[2]) % 3 == 0:
            depths[int(match[1])] = depths.get(int(match[1]), 0) + 1
    return tuple(OUTPUT_STRIDE << depths[index] for index in sorted(depths))


def _config(state: Mapping[str, Tensor]) -> DDRNetConfig | None:
    try:
        return DDRNetConfig(
            width=_channels(state, "stem.0.weight") or 0,
            trunk_depths=_trunk_depths(state),
            fusion_stages=_fusion_stages(state),
            dappm_width=_channels(state, "dappm.scales.0.2.weight") or 0,
            head_width=_channels(state, "head.conv1.weight") or 0,
        )
    except ValueError:
        return None


def _backbone_config(state: Mapping[str, Tensor]) -> DDRNetConfig | None:
    held = (_channels(state, "stem.0.weight"), _trunk_depths(state), _fusion_stages(state))
    for config in VARIANTS.values():
        if (config.width, config.trunk_depths, config.fusion_stages) == held:
            return config
    return None


def _trunk_depths(state: Mapping[str, Tensor]) -> tuple[int, int]:
    return _depth(state, "trunk.0"), _depth(state, "trunk.1")


def _fusion_stages(state: Mapping[str, Tensor]) -> tuple[FusionStage, ...]:
    return tuple(
        FusionStage(stride, _depth(state, f"fusion_stages.{index}.low_res"))
        for index, stride in enumerate(fusion_strides(state))
    )


def _depth(state: Mapping[str, Tensor], stage: str) -> int:
    pattern = re.compile(rf"{re.escape(stage)}\.\d+\.conv1\.weight")
    return sum(pattern.fullmatch(key) is not None for key in state)


def _channels(state: Mapping[str, Tensor], key: str, dimension: int = 0) -> int | None:
    tensor = state.get(key)
    return tensor.shape[dimension] if tensor is not None and tensor.ndim == 4 else None
