"""The stem of a network in strips of rows, for processors whose cache is smaller than its maps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddrnet.upsampling.strips import CPU_STRIP


class StripStem:
    """Computes normalisation and stem in strips of rows; the result is that of the whole image.

    The map between the two convolutions has the most values of all maps of the network. In strips
    it stays in the cache, and neither it nor the normalised image needs memory of its own.

    Args:
        stem: Two 3x3 convolutions of stride 2, each followed by layers that see one pixel at a
            time, the last one ReLU. Its convolutions are changed: they leave the padding of rows to
            the strips.
        normalise: Maps images (N, C, h, W) to what the stem takes, each pixel by itself.
    """

    def __init__(self, stem: nn.Sequential, normalise: Callable[[Tensor], Tensor]) -> None:
        first, second = (i for i, layer in enumerate(stem) if isinstance(layer, nn.Conv2d))
        assert isinstance(stem[-1], nn.ReLU)
        self._halves = stem[first:second], stem[second:-1]
        self._normalise = normalise
        for half in self._halves:
            convolution = half[0]
            assert isinstance(convolution, nn.Conv2d)
            convolution.padding = (0, 1)
            self._width = convolution.out_channels

    def __call__(self, images: Tensor) -> Tensor:
        """Return (N, width, ceil(H/4), ceil(W/4)), channels innermost.

        Args:
            images: (N, C, H, W), as `normalise` takes them.
        """
        height, width = ((side + 1) // 2 for side in images.shape[2:])  # between the convolutions
        result: Tensor | None = None
        rows = max(1, CPU_STRIP // (2 * width * self._width * len(images)))
        for start in range(0, (height + 1) // 2, rows):
            stop = min(start + rows, (height + 1) // 2)
            top, bottom = max(2 * start - 1, 0), min(2 * stop, height)  # rows of the map between
            between = self._half(0, self._normalised(images, top, bottom))
            missing = (0, 0, int(start == 0), 2 * stop - bottom)
            strip = self._half(1, F.pad(between, missing) if any(missing) else between)
            if result is None:
                result = torch.empty(
                    (*strip.shape[:2], (height + 1) // 2, strip.shape[3]),
                    dtype=strip.dtype,
                    memory_format=torch.channels_last,
                )
            torch.clamp_min(strip, 0, out=result[:, :, start:stop])  # ReLU, without a copy
        assert result is not None
        return result

    def _normalised(self, images: Tensor, top: int, bottom: int) -> Tensor:
        """Return the rows that the first convolution needs for its rows from `top` to `bottom`."""
        first, last = 2 * top - 1, 2 * bottom  # before and after clipping
        height = images.shape[2]
        strip = self._normalise(images[:, :, max(first, 0) : min(last, height)])
        missing = (0, 0, max(-first, 0), max(last - height, 0))
        strip = F.pad(strip, missing) if any(missing) else strip
        return strip.contiguous(memory_format=torch.channels_last)

    def _half(self, index: int, x: Tensor) -> Tensor:
        half: Tensor = self._halves[index](x)
        return half
