"""The backbone as a feature extractor: five features, and only the layers that they need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ddrnet.backbone import Backbone, BilateralFusion
from ddrnet.blocks import Bottleneck, dilate, strided_convs
from ddrnet.variants import DDRNetConfig

_LAST_STRIDE = 32
_HALF_STEM = 3
"""Layers of the stem up to stride 2."""

_DEPTHS = (0, 1, 3, 2, 4)
"""Order of computation of the five features: the one at stride 16 comes before that at stride 8."""


class FeatureBackbone(Backbone):
    """The backbone with the connection that joins its branches, and features by index.

    The features, all after their ReLU: 0 the stem's first half at stride 2, 1 the trunk's first
    stage at stride 4, 2 the high-resolution branch after its last fusion at stride 8, 3 the
    low-resolution branch after its last fusion at stride 16, 4 the joined branches at stride 32.

    Args:
        config: The size of the network; its last fusion stage has stride 32.
        in_chans: Channels of the input images.
        output_stride: Stride of the last feature; 16 replaces the last step by dilation.

    Attributes:
        feature_info: Channels, stride and module of each feature.
        kept: Indices of the features that can be computed.
        grad_checkpointing: Whether the backward pass computes inner values again.

    Raises:
        ValueError: If `config` ends at another stride, `output_stride` is neither 32 nor 16, or
            `in_chans` is below 1.
    """

    def __init__(
        self, config: DDRNetConfig, in_chans: int, *, output_stride: int = _LAST_STRIDE
    ) -> None:
        strides = [stage.stride for stage in config.fusion_stages]
        if strides[-1] != _LAST_STRIDE:
            raise ValueError(f"the fusion stages of a classifier end at stride 32, got {strides}")
        if output_stride not in (16, _LAST_STRIDE):
            raise ValueError(
                f"output_stride is 32 or 16, got {output_stride}; feature 2 has stride 8 as it is"
            )
        if in_chans < 1:
            raise ValueError(f"in_chans is at least 1, got {in_chans}")
        super().__init__(config, in_chans, tail_stride=1)
        low_res = config.low_res_channels(_LAST_STRIDE)
        joined = low_res * Bottleneck.expansion
        self.high_to_low = strided_convs(
            [config.high_res_channels * Bottleneck.expansion, low_res, joined]
        )
        channels = (config.width, config.width, config.high_res_channels, low_res // 2, joined)
        self.feature_info: list[dict[str, Any]] = [
            {
                "num_chs": count,
                "reduction": min(2 << index, output_stride),
                "module": f"taps.{index}",
            }
            for index, count in enumerate(channels)
        ]
        # Tools that find features by module see each one pass through a module of its own.
        self.taps = nn.ModuleList(nn.Identity() for _ in channels)
        self.kept = list(range(len(channels)))
        self.grad_checkpointing = False
        self._count_at_16 = strides.index(_LAST_STRIDE)
        if output_stride != _LAST_STRIDE:
            self._dilate_last_stage()

    def _dilate_last_stage(self) -> None:
        dilate(self.low_res_tail.modules())
        dilate(self.high_to_low[3:])
        for stage in self.fusion_stages[self._count_at_16 :]:
            assert isinstance(stage, BilateralFusion)
            assert stage.high_to_low is not None
            dilate(stage.low_res.modules())
            dilate(stage.high_to_low[3:])  # its first convolution still goes from stride 8 to 16

    def features(self, images: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return features by index: at least the wanted ones.

        Raises:
            ValueError: If a wanted feature was pruned.
        """
        self.check_kept(wanted)
        features = self._compute(images, max(_DEPTHS[index] for index in wanted))
        return {index: self.taps[index](features[index]) for index in sorted(features)}

    def _compute(self, images: Tensor, depth: int) -> dict[int, Tensor]:
        """Return features by index, up to this depth."""
        x = _chain(self.stem[:_HALF_STEM], images)  # (N, width, H/2, W/2)
        features = {0: x}
        if depth == 0:
            return features
        x = self._run(self.trunk[0], _chain(self.stem[_HALF_STEM:], x))  # (N, width, H/4, W/4)
        x = features[1] = F.relu(x)
        if depth == 1:
            return features
        x = F.relu(self._run(self.trunk[1], x))  # (N, 2 * width, H/8, W/8)
        low_res, high_res = self._fuse(self.fusion_stages[: self._count_at_16], x, x)
        features[3] = low_res  # (N, 4 * width, H/16, W/16)
        if depth == 2:
            return features
        low_res, high_res = self._fuse(self.fusion_stages[self._count_at_16 :], low_res, high_res)
        features[2] = high_res  # (N, 2 * width, H/8, W/8)
        if depth == 3:
            return features
        low_res = F.relu(self._run(self.low_res_tail, low_res))  # (N, 16 * width, H/32, W/32)
        high_res = F.relu(self._run(self.high_res_tail, high_res))  # (N, 4 * width, H/8, W/8)
        features[4] = F.relu(low_res + self._run(self.high_to_low, high_res))  # as low_res
        return features

    def _fuse(
        self, stages: Iterable[nn.Module], low_res: Tensor, high_res: Tensor
    ) -> tuple[Tensor, Tensor]:
        for stage in stages:
            low_res, high_res = map(F.relu, self._run(stage, low_res, high_res))
        return low_res, high_res

    def check_kept(self, wanted: Collection[int]) -> None:
        """Raise ValueError unless the layers of all wanted features are left."""
        pruned = [index for index in wanted if index not in self.kept]
        if pruned:
            raise ValueError(f"feature {min(pruned)} was pruned; left are {self.kept}")

    def _run(self, layer: nn.Module, *inputs: Tensor) -> Any:
        """Call a layer; with gradient checkpointing, the backward pass computes it again."""
        if self.grad_checkpointing:
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def prune(self, chosen: Collection[int]) -> None:
        """Remove the layers on which none of the chosen features depends.

        Raises:
            ValueError: If a chosen feature was pruned before.
        """
        self.check_kept(chosen)
        self.kept = sorted(set(chosen))
        depth = max(_DEPTHS[index] for index in chosen)
        if depth < 4:
            self.low_res_tail = self.high_res_tail = self.high_to_low = nn.Sequential()
        if depth < 3:
            self.fusion_stages = self.fusion_stages[: self._count_at_16]
        if depth in (2, 3):
            setattr(self.fusion_stages[-1], "low_to_high" if depth == 2 else "high_to_low", None)
        if depth < 2:
            self.fusion_stages, self.trunk = nn.ModuleList(), self.trunk[:depth]
        if depth < 1:
            self.stem = self.stem[:_HALF_STEM]


def _chain(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def absolute_indices(indices: int | list[int] | None) -> tuple[list[int], int]:
    """Return the indices of the chosen features, none of them negative, and the largest.

    Args:
        indices: Which of the five features; a number takes the last ones, None takes all.

    Raises:
        ValueError: If none is chosen.
    """
    if indices is not None and not isinstance(indices, int) and len(indices) == 0:
        raise ValueError("no feature is chosen: name at least one of 0, 1, 2, 3, 4")
    chosen, largest = feature_take_indices(len(_DEPTHS), indices)
    return list(chosen), largest
