"""The exported graph: uint8 images in, labels or logits out, everything between inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as export_config

from ddrnet.data.transforms import Normalize
from ddrnet.fusing import fuse
from ddrnet.network import MIN_SIZE, DDRNet
from ddrnet.predictor.exported.description import Output
from ddrnet.upsampling import upsample
from ddrnet.upsampling.traceable import traceable_argmax
from ddrnet.variants import OUTPUT_STRIDE

_TRACED_SIZE = (160, 224)
"""Height and width of the images traced for any size."""


class ImageGraph(nn.Module):
    """Normalisation, network and output as one module, for inference alone.

    Args:
        model: The network; a copy is taken, with BatchNorm folded and no auxiliary head.
        output: The kind of result.
        dtype: Of the network's weights and activations.
    """

    def __init__(self, model: DDRNet, output: Output, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.normalize = Normalize.from_model(model)
        self.network = fuse(model.without_aux_head().cpu().float()).requires_grad_(False)
        self.network.to(dtype)
        self.network.upsample = False
        self.output, self.dtype = output, dtype
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, H, W, C) uint8 to the output.

        Returns:
            Labels (N, H, W) uint8, or float32 logits, (N, K, H/8, W/8) rounded up or full size
            (N, K, H, W).
        """
        size = torch.Size(images.shape[1:3])
        if images.shape[3] == 1:  # the permuted strides would tie the height to the traced one
            planes = images.reshape(-1, 1, *size)  # (N, 1, H, W)
        else:
            planes = images.permute(0, 3, 1, 2).contiguous()  # (N, C, H, W)
        pixels = self.normalize(planes)
        logits: Tensor = self.network(pixels.to(self.dtype)).float()  # (N, K, h, w)
        if self.output == "labels":
            return traceable_argmax(logits, size, OUTPUT_STRIDE)  # (N, H, W)
        return upsample(logits, size) if self.output == "full" else logits


def trace(graph: ImageGraph, size: tuple[int, int] | None, batch: int | None) -> ExportedProgram:
    """Trace a graph for one size of images or for any.

    Args:
        graph: The module.
        size: Height and width; None for any from 32 pixels up.
        batch: Images per call; None for any number.
    """
    height, width = size or _TRACED_SIZE
    images = torch.zeros(batch or 2, height, width, graph.network.in_chans, dtype=torch.uint8)
    sides = [Dim.STATIC] * 2 if size else [Dim(side, min=MIN_SIZE) for side in ("height", "width")]
    dynamic = Dim.STATIC if batch else Dim("batch"), *sides, Dim.STATIC
    # A length of 1, such as that of a small image at stride 64, is no case of its own.
    with export_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        return torch.export.export(graph, (images,), dynamic_shapes={"images": dynamic})
