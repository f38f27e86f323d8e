"""Street scenes rendered on the fly with exact labels, for tests, first runs and the demo."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ddrnet.data.dataset import SegmentationDataset, Transforms
from ddrnet.labels import CITYSCAPES
from ddrnet.streets import checked_size, render_street


class SyntheticStreets(SegmentationDataset):
    """Synthetic streets in the 19 classes of Cityscapes.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its train ids, (H, W), with 255 on
    untrained classes. Both are painted from the same polygons: labels are exact, and only the lens
    blurs the borders of colours. As in Cityscapes, gaps in a cycle or a person, such as between
    spokes or under an arm, belong to it.

    `seed` and the index alone determine a scene, at every size and epoch and in every process.
    Another seed gives other scenes: a held-out set uses another seed.
    Between releases of Pillow, a few pixels at borders differ.

    Args:
        length: Number of scenes.
        size: Height and width in pixels, each from 32 up.
        seed: Any integer; determines the scenes and the random choices of the transforms.
        transforms: Called with image and labels; returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` takes an eighth of `int64`.

    Raises:
        ValueError: If the length is negative or the size too small.
    """

    def __init__(
        self,
        length: int = 1000,
        size: tuple[int, int] = (512, 1024),
        *,
        seed: int = 0,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
    ) -> None:
        super().__init__(
            CITYSCAPES.classes, transforms=transforms, label_dtype=label_dtype, seed=seed
        )
        if length < 0:
            raise ValueError(f"length must not be negative, got {length}")
        self.length = length
        self.size = checked_size(size)

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the rendered image, (3, H, W) uint8, and its train ids, (H, W) uint8."""
        scene = render_street(self.size, self.seed, index)
        train_ids = np.frombuffer(CITYSCAPES.id_to_train_id, np.uint8).take(scene.ids())
        return torch.from_numpy(np.array(scene.image)).permute(2, 0, 1), torch.from_numpy(train_ids)
