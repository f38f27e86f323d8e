"""The ways from an image file to a label file that are compared."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ddrnet.network import DDRNet
from ddrnet.predictor.engine import Precision, TorchEngine
from ddrnet.predictor.pixels import read_pixels
from ddrnet.predictor.predictor import Predictor
from ddrnet.predictor.tta import label_maps

PLAIN = "plain"
"""The name of the plain pipeline in place of a backend."""

BACKENDS = ("torch",)
"""The libraries that compute the network for a predictor."""


class Pipeline(Protocol):
    """A way from an image file to a label file, and its steps."""

    @property
    def batch_norms(self) -> int | None:
        """The number of BatchNorm layers that are computed; None if unknown."""
        ...

    def prepared(self, image: Path) -> Tensor:
        """Decode an image; return what the network takes, (1, C, H, W)."""
        ...

    def logits(self, prepared: Tensor) -> Tensor:
        """Run the network; return logits (1, K, ceil(H/8), ceil(W/8))."""
        ...

    def labels(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Return class indices (1, H, W) on the host."""
        ...

    def segment(self, image: Path, labels: Path) -> None:
        """Read an image file and write the label file, a PNG."""
        ...


class PlainPipeline:
    """What most code does, on the network as it was trained, in float32.

    Pillow decodes and torchvision normalises. The network keeps its BatchNorm layers and stores
    channels outermost. Its logits are interpolated to full size, and argmax takes the class.

    Args:
        model: The network; it is copied.
        device: Where to compute.

    Raises:
        ValueError: If the model does not read RGB.
    """

    def __init__(self, model: DDRNet, device: torch.device) -> None:
        from torchvision import transforms

        if model.in_chans != 3:
            raise ValueError(
                f"the plain pipeline reads RGB images, the model has {model.in_chans} channels"
            )
        self.network = model.without_aux_head().eval().to(device)
        self.network.upsample = False
        self.device = device
        self.batch_norms = count_batch_norms(self.network)
        preprocessing = model.preprocessing
        self._transform = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def prepared(self, image: Path) -> Tensor:
        """Decode an image; return normalised floats (1, 3, H, W)."""
        pixels: Tensor = self._transform(Image.open(image).convert("RGB"))
        return pixels[None].to(self.device)

    @torch.no_grad()
    def logits(self, prepared: Tensor) -> Tensor:
        """Run the network; return logits (1, K, ceil(H/8), ceil(W/8))."""
        logits: Tensor = self.network(prepared)
        return logits

    @torch.no_grad()
    def labels(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Interpolate to (1, K, H, W); return class indices (1, H, W) on the host."""
        full = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return full.argmax(1).cpu()

    def segment(self, image: Path, labels: Path) -> None:
        """Read an image file and write the label file, a grey PNG."""
        prepared = self.prepared(image)
        height, width = prepared.shape[2:]
        found = self.labels(self.logits(prepared), (height, width))[0]
        Image.fromarray(found.numpy().astype(np.uint8)).save(labels)


class PredictorPipeline:
    """A `Predictor`, which reads and writes the files too."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        engine = predictor.engine
        self.batch_norms = (
            count_batch_norms(engine.network) if isinstance(engine, TorchEngine) else None
        )

    def prepared(self, image: Path) -> Tensor:
        """Decode an image; libraries other than torch normalise inside their graph."""
        engine = self.predictor.engine
        pixels = read_pixels(image, engine.in_chans)[None]  # (1, C, H, W)
        return engine.prepared(pixels) if isinstance(engine, TorchEngine) else pixels

    def logits(self, prepared: Tensor) -> Tensor:
        """Run the network; return logits (1, K, ceil(H/8), ceil(W/8))."""
        engine = self.predictor.engine
        return engine.logits(prepared) if isinstance(engine, TorchEngine) else engine(prepared)

    def labels(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Return class indices (1, H, W) on the host, without full-resolution logits."""
        return label_maps([logits.float()], size).labels.cpu()

    def segment(self, image: Path, labels: Path) -> None:
        """Read an image file and write the label file, a palette PNG."""
        self.predictor(image).save(labels)


class Way(NamedTuple):
    """One way to run a model.

    Attributes:
        backend: `PLAIN` or one of `BACKENDS`.
        precision: The dtype of weights and activations.
        compile: Whether torch compiles the network.
    """

    backend: str = PLAIN
    precision: Precision = "float32"
    compile: bool = False

    def __str__(self) -> str:
        if self.backend == PLAIN:
            return PLAIN
        return " ".join([self.backend, self.precision, *["compiled"] * self.compile])

    def pipeline(self, model: DDRNet, device: torch.device) -> Pipeline:
        """Return the pipeline of a model; the model stays as it is."""
        if self.backend == PLAIN:
            return PlainPipeline(model, device)
        return PredictorPipeline(
            Predictor(model, device=device, precision=self.precision, compile=self.compile)
        )


def count_batch_norms(network: torch.nn.Module) -> int:
    """Return the number of BatchNorm layers."""
    return sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
