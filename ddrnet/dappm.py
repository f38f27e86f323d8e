"""Deep Aggregation Pyramid Pooling Module: context from five scales of the smallest map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddrnet.blocks import bn_relu_conv
from ddrnet.upsampling import upsample

POOLING = ((5, 2), (9, 4), (17, 8))
"""(kernel size, stride) of the average pools between the unpooled and the global scale."""


class DAPPM(nn.Module):
    """Pools at growing sizes, each scale refined together with the one before it.

    Args:
        in_channels: Channels of the input.
        width: Channels of each scale.
        out_channels: Channels of the output.

    Source: arXiv 2101.06085, section 3.3.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(kernel, stride, kernel // 2) for kernel, stride in POOLING]
        scales = [
            nn.Sequential(pool, *bn_relu_conv(in_channels, width, 1))
            for pool in (*pools, nn.AdaptiveAvgPool2d(1))
        ]
        unpooled = nn.Sequential(*bn_relu_conv(in_channels, width, 1))
        self.scales = nn.ModuleList([unpooled, *scales])
        self.refine = nn.ModuleList(nn.Sequential(*bn_relu_conv(width, width, 3)) for _ in scales)
        self.merge = nn.Sequential(*bn_relu_conv(width * len(self.scales), out_channels, 1))
        self.shortcut = nn.Sequential(*bn_relu_conv(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        unpooled, *pooled = self.scales
        levels: list[Tensor] = [unpooled(x)]  # each (N, width, h, w)
        for scale, refine in zip(pooled, self.refine, strict=True):
            pooled_level = upsample(scale(x), x.shape[-2:])  # (N, width, h, w)
            levels.append(refine(pooled_level + levels[-1]))
        context: Tensor = self.merge(torch.cat(levels, dim=1))  # (N, out_channels, h, w)
        context += self.shortcut(x)
        return context
