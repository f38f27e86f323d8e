"""Prepares images for models of transformers, and turns their outputs into label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.image_processing_base import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from ddrnet.data.transforms import Normalize
from ddrnet.network import MIN_SIZE
from ddrnet.predictor.engine import normalised
from ddrnet.predictor.pixels import read_pixels
from ddrnet.predictor.tta import resized
from ddrnet.upsampling import upsample_argmax
from ddrnet.weights.row import IMAGENET


class DDRNetImageProcessor(BaseImageProcessor):
    """Prepares images and label maps as `ddrnet.Predictor` does; images keep their size.

    Args:
        image_mean: One number per channel of the model, for images scaled to 0-1.
        image_std: One number per channel of the model.
        size: {"height": H, "width": W} of images and labels, in pixels; by default their own.
            Images below 32 pixels are enlarged.
        **kwargs: Settings of any image processor.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  # transformers declares it so

    def __init__(
        self,
        image_mean: Sequence[float] = IMAGENET.mean,
        image_std: Sequence[float] = IMAGENET.std,
        size: dict[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.size = size

    def preprocess(
        self,
        images: Any,
        segmentation_maps: Any = None,
        size: dict[str, int] | None = None,
        return_tensors: Any = None,
    ) -> BatchFeature:
        """Return `pixel_values` and, with label maps, `labels`.

        Args:
            images: One image or a list: paths, Pillow images, arrays (H, W, C) or tensors
                (C, H, W), uint8. A tensor (N, C, H, W) is a list too.
            segmentation_maps: The labels of each image, in the same form: (H, W) class indices,
                255 where ignored.
            size: Replaces the size of the processor.
            return_tensors: "pt" stacks the images, which need one size then; by default lists.

        Raises:
            ValueError: If an image has other channels, a label map has colors, there are more or
                fewer maps than images, or images of several sizes are stacked.
        """
        size = size or self.size
        shape = None if size is None else [size["height"], size["width"]]
        normalize = Normalize(self.image_mean, self.image_std)
        values: list[Tensor] = []
        for image in _listed(images, dims=4):
            pixels = read_pixels(image, len(self.image_mean))[None]  # (1, C, H, W)
            seen = shape or [max(side, MIN_SIZE) for side in pixels.shape[2:]]
            values.append(normalised(resized(pixels, seen), normalize)[0])
        data = {"pixel_values": values}
        if segmentation_maps is not None:
            data["labels"] = [_labels(item, shape) for item in _listed(segmentation_maps, dims=3)]
            if len(data["labels"]) != len(values):
                raise ValueError(f"got {len(data['labels'])} label maps for {len(values)} images")
        if return_tensors is not None:
            for name, tensors in data.items():
                sizes = {tuple(tensor.shape[-2:]) for tensor in tensors}
                if len(sizes) > 1:
                    raise ValueError(
                        f"{name} of the sizes {sorted(sizes)} cannot be stacked: give the "
                        "processor a size, or leave return_tensors out"
                    )
        return BatchFeature(data, tensor_type=return_tensors)

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Sequence[tuple[int, int]] | Tensor | None = None
    ) -> list[Tensor]:
        """Return the label map of each image, (H, W) int64.

        Args:
            outputs: The output of the model.
            target_sizes: Height and width of each map, in pixels; by default those of the logits.

        Raises:
            ValueError: If the number of sizes is not that of the images.
        """
        logits: Tensor = outputs.logits  # (N, K, h, w)
        sizes = [logits.shape[-2:]] * len(logits) if target_sizes is None else list(target_sizes)
        if len(sizes) != len(logits):
            raise ValueError(f"expected {len(logits)} sizes, one per image, got {len(sizes)}")
        return [
            upsample_argmax(image[None], (int(height), int(width)))[0].long()
            for image, (height, width) in zip(logits, sizes, strict=True)
        ]


def _listed(items: Any, dims: int) -> list[Any]:
    """Return one item or several as a list; an array of `dims` dimensions is several."""
    several = isinstance(items, list | tuple) or getattr(items, "ndim", 0) == dims
    return list(items) if several else [items]


def _labels(item: Any, size: list[int] | None) -> Tensor:
    """Return a label map, (H, W) int64; resized, each pixel takes the value under its centre."""
    labels = torch.from_numpy(np.array(item)).long()
    if labels.ndim != 2:
        raise ValueError(
            f"a label map is (H, W) class indices, got shape {tuple(labels.shape)}: turn colors "
            "into indices first"
        )
    if size is None:
        return labels
    resized_labels = F.interpolate(labels[None, None].float(), size, mode="nearest-exact")
    return resized_labels[0, 0].long()
