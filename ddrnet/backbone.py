"""The layers that ImageNet weights fill: stem, trunk and the two branches."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ddrnet.blocks import Bottleneck, conv_bn, residual_stage, stem, strided_convs
from ddrnet.upsampling import upsample
from ddrnet.variants import OUTPUT_STRIDE, DDRNetConfig, FusionStage


class BilateralFusion(nn.Module):
    """One stage of both branches; at its end each branch is added to the other.

    Args:
        config: The size of the network.
        stage: Stride of the low-resolution branch and depth of both.
        previous_stride: Stride of the incoming low-resolution features.

    Attributes:
        low_to_high: Connection to the high-resolution branch; None adds nothing.
        high_to_low: Connection to the low-resolution branch; None adds nothing.

    Source: arXiv 2101.06085, section 3.2.
    """

    low_to_high: nn.Sequential | None
    high_to_low: nn.Sequential | None

    def __init__(self, config: DDRNetConfig, stage: FusionStage, previous_stride: int) -> None:
        super().__init__()
        in_channels = config.low_res_channels(previous_stride)
        channels, high_res = config.low_res_channels(stage.stride), config.high_res_channels
        descent = [high_res]
        while OUTPUT_STRIDE << len(descent) <= stage.stride:
            descent.append(config.low_res_channels(OUTPUT_STRIDE << len(descent)))
        self.low_res = residual_stage(
            in_channels, channels, stage.depth, stage.stride // previous_stride
        )
        self.high_res = residual_stage(high_res, high_res, stage.depth)
        self.low_to_high = nn.Sequential(*conv_bn(channels, high_res, 1))
        self.high_to_low = strided_convs(descent)

    def forward(self, low_res: Tensor, high_res: Tensor) -> tuple[Tensor, Tensor]:
        """Map rectified features of both branches to fused ones, which are not rectified.

        Args:
            low_res: (N, C, h, w) at the previous stride.
            high_res: (N, 2 * width, H/8, W/8).
        """
        low_res = self.low_res(low_res)  # (N, width * stride / 4, H/stride, W/stride)
        high_res = self.high_res(high_res)  # (N, 2 * width, H/8, W/8)
        fused_low_res, fused_high_res = low_res, high_res
        if self.low_to_high is not None:
            upward = self.low_to_high(F.relu(low_res))  # (N, 2 * width, H/stride, W/stride)
            fused_high_res = high_res + upsample(upward, high_res.shape[-2:])
        if self.high_to_low is not None:
            fused_low_res = low_res + self.high_to_low(F.relu(high_res))
        return fused_low_res, fused_high_res


class Backbone(nn.Module):
    """The layers that the segmentation network shares with the ImageNet classifier.

    Args:
        config: The size of the network.
        in_chans: Channels of the input images.
        tail_stride: Stride of the low-resolution branch's last block: 2 to segment, 1 to classify.

    Source: arXiv 2101.06085 and the code its authors published.
    """

    def __init__(self, config: DDRNetConfig, in_chans: int, *, tail_stride: int) -> None:
        super().__init__()
        self.config = config
        self.in_chans = in_chans
        width, high_res = config.width, config.high_res_channels
        strides = [OUTPUT_STRIDE, *(stage.stride for stage in config.fusion_stages)]
        self.stem = stem(in_chans, width)
        self.trunk = nn.ModuleList(
            [
                residual_stage(width, width, config.trunk_depths[0]),
                residual_stage(width, high_res, config.trunk_depths[1], stride=2),
            ]
        )
        self.fusion_stages = nn.ModuleList(
            BilateralFusion(config, stage, previous)
            for stage, previous in zip(config.fusion_stages, strides, strict=False)
        )
        low_res = config.low_res_channels(strides[-1])
        self.low_res_tail = nn.Sequential(Bottleneck(low_res, stride=tail_stride))
        self.high_res_tail = nn.Sequential(Bottleneck(high_res))

    def initialise_convolutions(self) -> None:
        """Give every convolution random weights, as the published code does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
