"""The ImageNet classifier on the same backbone, with the methods of timm's models."""

# Annotations are not postponed: torch.fx writes them as they are into the graph of `forward`.

from contextlib import nullcontext
from typing import Any, Literal

import torch
from timm.layers import create_classifier
from torch import Tensor, nn
from torch.nn import functional as F

from ddrnet.blocks import conv_bn
from ddrnet.checkpoints import fit_state_dict, read_state_dict, to_ddrnet
from ddrnet.classifier.features import FeatureBackbone, absolute_indices
from ddrnet.files import StrPath
from ddrnet.variants import DDRNetConfig


class DDRNetClassifier(FeatureBackbone):
    """The network that the authors trained on ImageNet, as a timm model.

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

    Raises:
        ValueError: If `config` ends at another stride, `output_stride` is neither 32 nor 16,
            `in_chans` is below 1, or there are classes but no pooling.

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
        output_stride: int = 32,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        with nullcontext() if device is None else torch.device(device):
            super().__init__(config, in_chans, output_stride=output_stride)
            joined: int = self.feature_info[-1]["num_chs"]
            self.num_features = 2 * joined
            head = conv_bn(joined, self.num_features, 1)
            self.conv_head: nn.Module = nn.Sequential(*head, nn.ReLU(inplace=True))
            self.initialise_convolutions()
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes, global_pool)
        if dtype is not None:
            self.to(dtype)

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
        last = max(self.kept)
        features: Tensor = self.conv_head(self.features(images, {last})[last])
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
            ValueError: If `output_fmt` is another layout, a feature was pruned, or none is chosen.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"the features have the layout NCHW, got output_fmt={output_fmt!r}")
        chosen, deepest = absolute_indices(indices)
        last = deepest if stop_early else max(self.kept)
        features = self.features(x, chosen if intermediates_only else {*chosen, last})
        intermediates = [features[index] for index in chosen]
        if intermediates_only:
            return intermediates
        final = features[last]
        return self.conv_head(final) if last == 4 else final, intermediates

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
            ValueError: If a chosen feature was pruned before, or none is chosen.
        """
        chosen, deepest = absolute_indices(indices)
        self.prune(chosen)
        if prune_norm or prune_head or deepest < 4:
            self.conv_head = nn.Identity()
            self.num_features = self.feature_info[deepest]["num_chs"]
            self.reset_classifier(0, "")
        return chosen

    def get_classifier(self) -> nn.Module:
        """Return the last layer: linear, or the identity without classes."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by an untrained one.

        Args:
            num_classes: Channels of the logits; 0 removes the layer.
            global_pool: timm's name for the pooling; "" for none, None to keep it.

        Raises:
            ValueError: If there are classes but no pooling, or fewer than 0 classes.
        """
        like = next(self.parameters())
        pool: Any = self.global_pool.pool_type if global_pool is None else global_pool
        if num_classes < 0 or (num_classes and not pool):
            raise ValueError(
                f"num_classes is 0, or from 1 up with a pooling such as 'avg', got {num_classes} "
                f"with global_pool={pool!r}"
            )
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
