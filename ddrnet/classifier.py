"""The ImageNet classifier on the same backbone, with the methods of timm's models."""

# Annotations are not postponed: torch.fx writes them as they are into the graph of `forward`.

from collections.abc import Collection, Iterable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from timm.layers import create_classifier
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ddrnet.backbone import Backbone, BilateralFusion
from ddrnet.blocks import Bottleneck, conv_bn, dilate, strided_convs
from ddrnet.checkpoints import fit_state_dict, read_state_dict, to_ddrnet
from ddrnet.files import StrPath
from ddrnet.variants import DDRNetConfig

_LAST_STRIDE = 32
_DEPTHS = (0, 1, 3, 2, 4)
"""Order of computation of the five features: the one at stride 16 comes before that at stride 8."""

_HALF_STEM = 3
"""Layers of the stem up to stride 2."""


class DDRNetClassifier(Backbone):
    """The network that the authors trained on ImageNet, as a timm model.

    It has five features, all after their ReLU: the stem's first half at stride 2, the trunk at
    stride 4, the high-resolution branch after its last fusion at stride 8, the low-resolution
    branch after its last fusion at stride 16, and the joined branches at stride 32.

    Args:
        config: The size of the network; its last fusion stage has stride 32.
        num_classes: Channels of the logits; with 0, `forward` returns the pooled features.
        in_chans: Channels of the input images.
        global_pool: timm's name for the pooling; "" for none, which needs `num_classes=0`.
        drop_rate: Fraction of the pooled features that training drops.
        output_stride: Stride of the last feature; 16 replaces the last step by dilation.
        device: Device of the parameters.
        dtype: Data type of the parameters.

    Attributes:
        num_features: Channels that `forward_features` returns.
        head_hidden_size: Channels behind the pooling.
        feature_info: Channels, stride and module of each feature.

    Raises:
        ValueError: If `config` ends at another stride, or `output_stride` is neither 32 nor 16.

    Source: ydhongHIT/DDRNet at commit de0db31, `classification`.
    """

    global_pool: nn.Module
    classifier: nn.Module

    def __init__(
        self,
        config: DDRNetConfig,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        output_stride: int = _LAST_STRIDE,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        strides = [stage.stride for stage in config.fusion_stages]
        if strides[-1] != _LAST_STRIDE:
            raise ValueError(f"the fusion stages of a classifier end at stride 32, got {strides}")
        if output_stride not in (16, _LAST_STRIDE):
            raise ValueError(
                f"output_stride is 32 or 16, got {output_stride}; feature 2 has stride 8 as it is"
            )
        with nullcontext() if device is None else torch.device(device):
            super().__init__(config, in_chans, tail_stride=1)
            low_res = config.low_res_channels(_LAST_STRIDE)
            joined = low_res * Bottleneck.expansion
            tail = config.high_res_channels * Bottleneck.expansion
            self.high_to_low = strided_convs([tail, low_res, joined])
            self.num_features = 2 * joined
            head = conv_bn(joined, self.num_features, 1)
            self.conv_head: nn.Module = nn.Sequential(*head, nn.ReLU(inplace=True))
            self.initialise_convolutions()
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
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self._kept = list(range(len(channels)))
        self._count_at_16 = strides.index(_LAST_STRIDE)
        self.reset_classifier(num_classes, global_pool)
        if output_stride != _LAST_STRIDE:
            self._dilate_last_stage()
        if dtype is not None:
            self.to(dtype)

    def _dilate_last_stage(self) -> None:
        dilate(self.low_res_tail.modules())
        dilate(self.high_to_low[3:])
        for stage in self.fusion_stages[self._count_at_16 :]:
            assert isinstance(stage, BilateralFusion)
            assert stage.high_to_low is not None
            dilate(stage.low_res.modules())
            dilate(stage.high_to_low[3:])  # its first convolution still goes from stride 8 to 16

    def forward(self, images: Tensor) -> Tensor:
        """Compute class logits of normalised images.

        Args:
            images: (N, in_chans, H, W), floating point.

        Returns:
            Logits (N, num_classes); pooled features (N, head_hidden_size) without classes.
        """
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Return what the head pools: (N, num_features, H/32, W/32), or the last feature left."""
        last = max(self._kept)
        features: Tensor = self.conv_head(self._features(images, {last})[last])
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the result of `forward_features` and classify it, unless `pre_logits`."""
        pooled: Tensor = self.global_pool(features)  # (N, head_hidden_size)
        pooled = F.dropout(pooled, self.drop_rate, self.training)
        logits: Tensor = pooled if pre_logits else self.classifier(pooled)
        return logits

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW"] = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return features, and what `forward_features` returns.

        Args:
            x: Images (N, in_chans, H, W).
            indices: Which of the five features, in this order; a number takes the last ones, None
                takes all.
            norm: Of no effect, as no normalisation follows the features.
            stop_early: Return the deepest of the chosen features instead of the final ones.
            output_fmt: Layout of the features.
            intermediates_only: Return the features alone.

        Raises:
            ValueError: If `output_fmt` is another layout, or a feature was pruned.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"the features have the layout NCHW, got output_fmt={output_fmt!r}")
        chosen, deepest = feature_take_indices(len(_DEPTHS), indices)
        last = deepest if stop_early else max(self._kept)
        features = self._features(x, chosen if intermediates_only else {*chosen, last})
        intermediates = [features[index] for index in chosen]
        if intermediates_only:
            return intermediates
        final = features[last]
        return self.conv_head(final) if last == 4 else final, intermediates

    def _features(self, images: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return features by index: at least the wanted ones."""
        self._check_kept(wanted)
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

    def _check_kept(self, wanted: Collection[int]) -> None:
        pruned = [index for index in wanted if index not in self._kept]
        if pruned:
            raise ValueError(f"feature {min(pruned)} was pruned; left are {self._kept}")

    def _run(self, layer: nn.Module, *inputs: Tensor) -> Any:
        """Call a layer; with gradient checkpointing, the backward pass computes it again."""
        if self.grad_checkpointing:
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the layers on which none of the chosen features depends.

        Args:
            indices: The features that stay; a number takes the last ones.
            prune_norm: Remove the head's convolution even if `prune_head` is False.
            prune_head: Remove the head, which goes anyway if the last feature goes.

        Returns:
            The indices, none of them negative.

        Raises:
            ValueError: If a chosen feature was pruned before.
        """
        chosen, deepest = feature_take_indices(len(_DEPTHS), indices)
        self._check_kept(chosen)
        self._kept = sorted(set(chosen))
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
        if prune_norm or prune_head or depth < 4:
            self.conv_head = nn.Identity()
            self.num_features = self.feature_info[deepest]["num_chs"]
            self.reset_classifier(0, "")
        return list(chosen)

    def get_classifier(self) -> nn.Module:
        """Return the last layer: linear, or the identity without classes."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by an untrained one.

        Args:
            num_classes: Channels of the logits; 0 removes the layer.
            global_pool: timm's name for the pooling; "" for none, None to keep it.
        """
        like = next(self.parameters())
        pool: Any = self.global_pool.pool_type if global_pool is None else global_pool
        self.num_classes = num_classes
        created = create_classifier(self.num_features, num_classes, pool)
        self.global_pool, self.classifier = created
        self.head_hidden_size: int = self.num_features * created[0].feat_mult()
        self.global_pool.train(self.training)
        self.classifier.to(like.device, like.dtype).train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save memory in training: the backward pass computes inner values again."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that weight decay should spare: none in particular."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's patterns that group parameters by depth, for learning rates per layer."""
        if coarse:
            stages: Any = r"^fusion_stages\.(\d+)"
        else:
            # the connections belong to the last blocks of their stage
            blocks = r"^fusion_stages\.(\d+)\.(?:low|high)_res\.(\d+)"
            stages = [(blocks, None), (r"^fusion_stages\.(\d+)\.", (99999,))]
        return {
            "stem": r"^stem",
            "trunk": r"^trunk\.(\d+)" if coarse else r"^trunk\.(\d+)\.(\d+)",
            "fusion_stages": stages,
            "tails": r"^(?:low_res_tail|high_res_tail|high_to_low)",
        }

    def load_pretrained(self, checkpoint_path: StrPath) -> None:
        """Load an ImageNet classifier in the official or this library's names, strictly.

        A last layer for another number of classes is left out, and the first convolution is adapted
        to the model's channels.

        Raises:
            CheckpointError: If the file cannot be read or any other tensor does not fit.
        """
        fit = fit_state_dict(to_ddrnet(read_state_dict(checkpoint_path)), self.state_dict())
        self.load_state_dict(fit.state, strict=True)


def _chain(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
