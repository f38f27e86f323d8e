"""The segmentation network: two branches of different resolution that keep exchanging features."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ddrnet.backbone import Backbone
from ddrnet.blocks import Bottleneck
from ddrnet.dappm import DAPPM
from ddrnet.labels import ClassLabel, class_labels
from ddrnet.outputs import SegmentationOutput
from ddrnet.upsampling import upsample, upsample_argmax
from ddrnet.variants import HEADS, OUTPUT_STRIDE, DDRNetConfig
from ddrnet.weights.row import IMAGENET, Preprocessing, WeightsRow

MIN_SIZE = 32
"""Smallest height and width of an input image, in pixels."""


class SegmentationHead(nn.Module):
    """Turns features into class logits.

    Args:
        in_channels: Channels of the features.
        width: Channels between the two convolutions.
        num_classes: Channels of the logits.
    """

    def __init__(self, in_channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, num_classes, h, w)."""
        x = self.conv1(F.relu(self.bn1(features), inplace=True))  # (N, width, h, w)
        logits: Tensor = self.conv2(F.relu(self.bn2(x), inplace=True))
        return logits


class DDRNet(Backbone):
    """Deep dual-resolution network for semantic segmentation, of any size.

    Args:
        config: The size of the network.
        num_classes: Number of classes.
        in_chans: Channels of the input images.
        aux_head: Whether to build a second head on the high-resolution branch, for training.
        upsample: Whether logits have the images' size, not stride 8.
        classes: One row per class; by default they are called class_0, class_1, ...
        preprocessing: Normalisation that the weights expect; by default ImageNet's.

    Attributes:
        upsample: May be set at any time.
        pretrained: The weights row that the parameters came from, or None.

    Raises:
        ValueError: If `num_classes` or `in_chans` is below 1, or `classes` or `preprocessing`
            contradicts them.

    Source: arXiv 2101.06085 and the code its authors published.
    """

    def __init__(
        self,
        config: DDRNetConfig,
        num_classes: int = 19,
        in_chans: int = 3,
        *,
        aux_head: bool = False,
        upsample: bool = True,
        classes: tuple[ClassLabel, ...] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        if num_classes < 1 or in_chans < 1:
            raise ValueError(
                f"num_classes and in_chans are at least 1, got {num_classes} and {in_chans}"
            )
        super().__init__(config, in_chans, tail_stride=2)
        self.num_classes = num_classes
        self.upsample = upsample
        self.classes = classes or class_labels([f"class_{k}" for k in range(num_classes)])
        self.preprocessing = preprocessing or IMAGENET.for_channels(in_chans)
        self.pretrained: WeightsRow | None = None
        self._batch_norm_frozen = False
        self._check_description()
        low_res = config.low_res_channels(config.fusion_stages[-1].stride) * Bottleneck.expansion
        features = config.high_res_channels * Bottleneck.expansion
        self.dappm = DAPPM(low_res, config.dappm_width, features)
        self.aux_head = (
            SegmentationHead(config.high_res_channels, config.head_width, num_classes)
            if aux_head
            else None
        )
        self.head = SegmentationHead(features, config.head_width, num_classes)
        self.initialise_convolutions()

    def _check_description(self) -> None:
        if len(self.classes) != self.num_classes:
            raise ValueError(
                f"{len(self.classes)} class names do not fit num_classes={self.num_classes}"
            )
        lengths = {len(self.preprocessing.mean), len(self.preprocessing.std)}
        if lengths != {self.in_chans}:
            raise ValueError(
                f"preprocessing needs {self.in_chans} means and standard deviations, one per "
                f"input channel, got {self.preprocessing}"
            )

    def forward(self, images: Tensor) -> Tensor | SegmentationOutput:
        """Compute class logits of normalised images.

        Args:
            images: (N, in_chans, H, W), floating point, H and W at least 32, normalised with
                `preprocessing`.

        Returns:
            Logits (N, K, H, W), or (N, K, ceil(H/8), ceil(W/8)) while `upsample` is False; a
            `SegmentationOutput` of them and the auxiliary logits if there is an auxiliary head.

        Raises:
            ValueError: If shape or dtype do not fit, or if training would compute a BatchNorm's
                statistics from a single value per channel.
        """
        self._check_images(images)
        features, aux_features = self._features(self.stem(images))
        logits: Tensor = self.head(features)  # (N, K, H/8, W/8)
        if self.upsample:
            logits = upsample(logits, images.shape[-2:])  # (N, K, H, W)
        if self.aux_head is None:
            return logits
        return SegmentationOutput(logits, self.aux_head(aux_features))

    def predict(self, images: Tensor) -> Tensor:
        """Segment normalised images, in evaluation mode and without gradients.

        Args:
            images: (N, in_chans, H, W), as for `forward`.

        Returns:
            Class indices (N, H, W), int64: the argmax of the full-resolution logits.

        Raises:
            TypeError: If `images` is no tensor; `ddrnet.Predictor` takes paths and pictures.
            ValueError: If shape or dtype do not fit, or the model has more than 256 classes.
        """
        with _evaluating(self), torch.no_grad():
            self._check_images(images)
            logits = self.logits_after_stem(self.stem(images))  # (N, K, H/8, W/8)
            labels = upsample_argmax(logits, images.shape[-2:])  # (N, H, W)
        return labels.long()

    def logits_after_stem(self, x: Tensor) -> Tensor:
        """Compute logits (N, K, H/8, W/8) from the output of `stem`, (N, width, H/4, W/4)."""
        logits: Tensor = self.head(self._features(x)[0])
        return logits

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the head and of the auxiliary head, both at stride 8.

        Args:
            x: The output of the stem, (N, width, H/4, W/4).
        """
        # Heights and widths are rounded up where a stride does not divide them.
        for stage in self.trunk:
            x = F.relu(stage(x), inplace=True)  # in the end (N, 2 * width, H/8, W/8)
        low_res = high_res = aux_features = x
        for stage, (stride, _) in zip(self.fusion_stages, self.config.fusion_stages, strict=True):
            # (N, width * stride / 4, H/stride, W/stride) and (N, 2 * width, H/8, W/8)
            low_res, high_res = stage(low_res, high_res)
            if stride == 2 * OUTPUT_STRIDE:
                aux_features = high_res
            low_res, high_res = F.relu(low_res), F.relu(high_res)
        high_res = self.high_res_tail(high_res)  # (N, 4 * width, H/8, W/8)
        context = self.dappm(self.low_res_tail(low_res))  # (N, 4 * width, h, w)
        return upsample(context, high_res.shape[-2:]) + high_res, aux_features

    def _check_images(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(
                f"expected a tensor of normalised images, got {type(images).__name__}; "
                "ddrnet.Predictor(model) segments paths, Pillow images and arrays"
            )
        if images.ndim != 4 or images.shape[1] != self.in_chans:
            raise ValueError(
                f"expected images of shape (N, {self.in_chans}, H, W), got {tuple(images.shape)}; "
                "a single image needs a batch dimension, other channels need in_chans="
            )
        if not images.is_floating_point():
            raise ValueError(
                f"expected normalised floating-point images, got {images.dtype}: scale to 0-1 and "
                "normalise with model.preprocessing first (ddrnet.data.Normalize does both)"
            )
        if images.shape[2] < MIN_SIZE or images.shape[3] < MIN_SIZE:
            raise ValueError(
                f"height and width are at least {MIN_SIZE} pixels, got "
                f"{images.shape[2]} x {images.shape[3]}: enlarge or pad the image"
            )
        if self.training and images.shape[0] == 1:
            self._check_statistics()

    def _check_statistics(self) -> None:
        """Raise if the BatchNorm behind DAPPM's global pool would see one value per channel."""
        norms = self.dappm.scales[-1].modules()
        if any(isinstance(norm, _BatchNorm) and _uses_own_statistics(norm) for norm in norms):
            raise ValueError(
                "the model is in training mode, where one image leaves BatchNorm one value per "
                "channel (the global pool of DAPPM). To predict, call model.eval(). To train, "
                "use at least 2 images per batch (drop_last=True for the last one), freeze with "
                "ddrnet.freeze_batch_norm(model), or train in several processes with SyncBN"
            )

    def train(self, mode: bool = True) -> DDRNet:
        """Set training mode as any module does; a frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self._batch_norm_frozen:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def _batch_norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    def without_aux_head(self) -> DDRNet:
        """Return a deep copy without auxiliary head; its `forward` returns a plain tensor."""
        model = copy.deepcopy(self)
        model.aux_head = None
        return model

    def parameter_groups(
        self,
        lr: float,
        *,
        head_factor: float = 1.0,
        weight_decay: float = 0.0,
        decay_norm_and_bias: bool = True,
    ) -> list[dict[str, Any]]:
        """Group the trainable parameters for a torch optimizer.

        Args:
            lr: Learning rate of the layers that ImageNet weights initialise.
            head_factor: Multiplies `lr` for DAPPM and the heads, which start untrained.
            weight_decay: Weight decay of the groups that decay.
            decay_norm_and_bias: Whether BatchNorm parameters and biases decay too.

        Returns:
            One dictionary per group that is not empty: name, params, lr, weight_decay.
        """
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            is_head = name.startswith(HEADS)
            decays = decay_norm_and_bias or parameter.ndim > 1
            key = f"{'heads' if is_head else 'backbone'}{'' if decays else '.no_decay'}"
            group = {
                "name": key,
                "params": [],
                "lr": lr * head_factor if is_head else lr,
                "weight_decay": weight_decay if decays else 0.0,
            }
            groups.setdefault(key, group)["params"].append(parameter)
        return list(groups.values())


def freeze_batch_norm(model: nn.Module) -> None:
    """Freeze statistics, scale and shift of every BatchNorm, also through later `model.train()`.

    Args:
        model: A DDRNet, or any module that contains one.

    Raises:
        TypeError: If there is no DDRNet in `model`.
    """
    networks = [module for module in model.modules() if isinstance(module, DDRNet)]
    if not networks:
        raise TypeError(f"expected a DDRNet or a module that contains one, got {type(model)}")
    for network in networks:
        network._batch_norm_frozen = True
        for norm in network._batch_norms():
            norm.eval().requires_grad_(False)


def _uses_own_statistics(norm: _BatchNorm) -> bool:
    """Whether `norm` computes statistics from the batches of this process alone."""
    distributed = torch.distributed
    if not norm.training and norm.running_mean is not None:
        return False
    if not isinstance(norm, nn.SyncBatchNorm):
        return True
    initialised = distributed.is_available() and distributed.is_initialized()
    return not initialised or distributed.get_world_size(norm.process_group) < 2


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, then back into the mode each one had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
