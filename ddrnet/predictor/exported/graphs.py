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
        normalisation_in_stem: Whether the first convolution contains the normalisation and takes
            the bytes themselves, as quantised graphs do. Around the image it then sees one grey,
            not the mean colour.
    """

    def __init__(
        self,
        model: DDRNet,
        output: Output,
        dtype: torch.dtype = torch.float32,
        *,
        normalisation_in_stem: bool = False,
    ) -> None:
        super().__init__()
        self.normalize: Normalize | Grey = Normalize.from_model(model)
        self.network = fuse(model.without_aux_head().cpu().float()).requires_grad_(False)
        if normalisation_in_stem:
            self.normalize = _fold_normalisation(self.normalize, self.network)
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


class Grey(nn.Module):
    """Subtracts one whole number from bytes.

    Attributes:
        level: The number, 0 to 255.
    """

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images to float32 ones of the same shape."""
        return images.float() - self.level


def _fold_normalisation(normalize: Normalize, network: DDRNet) -> Grey:
    """Fold the normalisation into the first convolution; return what remains of it."""
    convolution = network.stem[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None  # that of the BatchNorm that it contains
    grey = Grey(int((255 * normalize.mean).mean().round()))
    weight = convolution.weight / (255 * normalize.std)  # (width, C, 3, 3), per level of a byte
    offset = weight * (grey.level - 255 * normalize.mean)
    convolution.bias = nn.Parameter(convolution.bias + offset.sum((1, 2, 3)), requires_grad=False)
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    return grey


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
