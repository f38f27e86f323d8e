"""The result of one prediction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ddrnet import visualize
from ddrnet.files import StrPath, png_bytes, write_atomically
from ddrnet.labels import ClassLabel

if TYPE_CHECKING:
    import supervision
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of an image's pixels.

    Attributes:
        image: (H, W, C) uint8, upright, as the source holds it: RGB, or the model's channels.
        labels: (H, W) uint8 class indices.
        classes: The class of each index.
        confidence: (H, W) float32, probability of the predicted class, 0-1; None if not asked for.
        source: The path or the address; "" for images in memory.
        frame: The number of the frame in a video or an animation, from 0; else None.
        time: When the frame is shown in its video or animation, in seconds; else None.
        speed: Milliseconds of `decode`, `network` and `labels`; of several images computed
            together, the mean.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    classes: tuple[ClassLabel, ...]
    confidence: NDArray[np.float32] | None = None
    source: str = ""
    frame: int | None = None
    time: Fraction | None = None
    speed: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        shares = sorted(self.shares().items(), key=lambda pair: -pair[1])[:3]
        named = ", ".join(f"{name} {visualize.percent(share)}" for name, share in shares)
        return f"Segmentation({self.source or 'image'}, {height} x {width}: {named})"

    def mask(self, name_or_index: str | int) -> NDArray[np.bool_]:
        """Return the pixels of one class, (H, W).

        Raises:
            ValueError: If there is no such class.
        """
        inside: NDArray[np.bool_] = self.labels == self._index(name_or_index)
        return inside

    def shares(self) -> dict[str, float]:
        """Return the share of each present class in the pixels, 0-1."""
        shares = visualize.class_shares(self.labels, self.classes).tolist()
        pairs = zip(self.classes, shares, strict=True)
        return {label.name: share for label, share in pairs if share > 0}

    def overlay(
        self, *, opacity: float = 0.55, only: Collection[str | int] | None = None
    ) -> Image.Image:
        """Return the class colours blended over the image, at its size.

        Args:
            opacity: From 0, the image alone, to 1, the colours alone.
            only: Names or indices of the classes to show; by default all.

        Raises:
            ValueError: If `opacity` is out of range, or there is no such class.
        """
        pixels = self.image if self.image.shape[2] == 3 else self.image[:, :, :1].repeat(3, axis=2)
        shown = None if only is None else [self._index(name) for name in only]
        return visualize.overlay(pixels, self.labels, self.classes, opacity=opacity, only=shown)

    def save(self, path: StrPath) -> None:
        """Write the labels as a palette PNG: viewers show colours, readers get class indices.

        Raises:
            OSError: If the file cannot be written; nothing is left half-written.
        """
        picture = visualize.palette_image(self.labels, self.classes)
        write_atomically(path, png_bytes(picture, compression=6))

    def segments(self) -> list[dict[str, Any]]:
        """Return one dictionary per present class, as transformers' image-segmentation pipeline.

        Returns:
            `label`: the name; `mask`: a PIL image of mode L, 255 inside; `score`: the mean
            confidence, or None without confidence.
        """
        from PIL import Image

        found: list[dict[str, Any]] = []
        for name in self.shares():
            inside = self.mask(name)
            score = None if self.confidence is None else float(self.confidence[inside].mean())
            mask = Image.fromarray(inside.astype(np.uint8) * 255)
            found.append({"score": score, "label": name, "mask": mask})
        return found

    def to_supervision(self) -> supervision.Detections:
        """Return one detection per present class, with its mask, for the tools of `supervision`.

        The detections carry boxes in pixels, masks, class indices, names (`data["class_name"]`)
        and, if there is a confidence map, the mean confidence.

        Raises:
            ImportError: If supervision is not installed (`pip install "ddrnet[supervision]"`).
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(
                'supervision is missing: pip install "ddrnet[supervision]"'
            ) from error
        names = list(self.shares())
        masks = np.stack([self.mask(name) for name in names])  # (n, H, W)
        scores = None
        if self.confidence is not None:
            scores = np.array([self.confidence[mask].mean() for mask in masks])
        return supervision.Detections(
            xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
            mask=masks,
            confidence=scores,
            class_id=np.array([self._index(name) for name in names]),
            data={"class_name": np.array(names)},
        )

    def _index(self, name_or_index: str | int) -> int:
        """Return the index of a class; raise ValueError if there is none."""
        names = [label.name for label in self.classes]
        index = name_or_index
        if isinstance(index, str):
            index = names.index(index) if index in names else -1
        if not 0 <= index < len(names):
            raise ValueError(f"there is no class {name_or_index!r}; expected {', '.join(names)}")
        return index
