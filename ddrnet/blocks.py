"""The building blocks of the network: convolution with BatchNorm, and residual blocks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return a convolution without bias and its BatchNorm; odd kernels keep ceil(size / stride)."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )
    return convolution, nn.BatchNorm2d(out_channels)


def bn_relu_conv(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    """Return BatchNorm, ReLU and a convolution without bias: the pre-activation order of DAPPM."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
    )
    return [nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True), convolution]


def strided_convs(channels: list[int]) -> nn.Sequential:
    """Chain 3x3 convolutions of stride 2 through `channels`, ReLU between but not at the end."""
    layers: list[nn.Module] = []
    for in_channels, out_channels in pairwise(channels):
        layers += [*conv_bn(in_channels, out_channels, 3, stride=2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def stem(in_channels: int, width: int) -> nn.Sequential:
    """Return the entry to stride 4: two 3x3 convolutions with bias, as the published code has."""
    layers: list[nn.Module] = []
    for channels in (in_channels, width):
        convolution = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(*conv_bn(in_channels, out_channels, 1, stride))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution.
        final_relu: Whether ReLU follows the sum. It does not in the last block of a stage, because
            the fusion adds to the bare sum.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, *, final_relu: bool = True
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(in_channels, channels, 3, stride)
        self.conv2, self.bn2 = conv_bn(channels, channels, 3)
        self.downsample = _shortcut(in_channels, channels, stride)
        self.final_relu = final_relu

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, ceil(H/stride), ceil(W/stride))."""
        # All are (N, channels, ceil(H/stride), ceil(W/stride)).
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += shortcut
        return F.relu(out, inplace=True) if self.final_relu else out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut, without ReLU at the end; doubles channels.

    Args:
        in_channels: Channels of the input and inside; the output has twice as many.
        stride: Stride of the 3x3 convolution.
    """

    expansion = 2

    def __init__(self, in_channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = in_channels * self.expansion
        self.conv1, self.bn1 = conv_bn(in_channels, in_channels, 1)
        self.conv2, self.bn2 = conv_bn(in_channels, in_channels, 3, stride)
        self.conv3, self.bn3 = conv_bn(in_channels, out_channels, 1)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 2C, ceil(H/stride), ceil(W/stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (N, C, H, W)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)  # (N, C, H/stride, W/stride)
        out = self.bn3(self.conv3(out))  # (N, 2C, H/stride, W/stride)
        out += shortcut
        return out


def dilate(layers: Iterable[nn.Module]) -> None:
    """Keep the resolution: a convolution of stride 2 gets stride 1, 3x3 ones after it dilation 2.

    Args:
        layers: Modules in the order of their use; those that are no convolutions stay.
    """
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.stride = (1, 1)
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (2, 2)


def residual_stage(in_channels: int, channels: int, depth: int, stride: int = 1) -> nn.Sequential:
    """Chain `depth` basic blocks; the first one strides, the last one is not rectified."""
    blocks = [
        BasicBlock(
            in_channels if index == 0 else channels,
            channels,
            stride if index == 0 else 1,
            final_relu=index < depth - 1,
        )
        for index in range(depth)
    ]
    return nn.Sequential(*blocks)
