"""Writes predictions as label files, with the values and names of the data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddrnet.data.cityscapes import Cityscapes
from ddrnet.data.dataset import FileDataset
from ddrnet.data.decoding import decode_labels
from ddrnet.data.submission import PREDICTION_SUFFIX
from ddrnet.files import StrPath, png_bytes, write_atomically
from ddrnet.labels import MAX_CLASSES, ClassLabel


class LabelFiles:
    """A folder with the predicted label file of each sample of a data set.

    The grey PNG files hold the `id` of each class, as the label files of the data set do, or the
    class index if the class has no `id`. A file has the name of its sample. The names for
    Cityscapes are those that the benchmark server and the official evaluation expect. Samples
    without a name are numbered.

    Args:
        folder: The folder; created if absent.
        dataset: The samples.
        classes: The class of each index.

    Raises:
        ValueError: If a file would overwrite one of the data set, or there are more than 256
            classes.
        OSError: If the folder cannot be created.
    """

    def __init__(self, folder: StrPath, dataset: object, classes: Sequence[ClassLabel]) -> None:
        if len(classes) > MAX_CLASSES:
            raise ValueError(f"label files hold at most {MAX_CLASSES} classes, got {len(classes)}")
        self.folder = Path(folder).expanduser()
        self._samples = dataset.samples if isinstance(dataset, FileDataset) else ()
        self._suffix = PREDICTION_SUFFIX if isinstance(dataset, Cityscapes) else ".png"
        ids = [row.id if row.id >= 0 else index for index, row in enumerate(classes)]
        self._ids = np.array(ids, np.uint8)
        own = [file for sample in self._samples for file in (sample.image, sample.labels) if file]
        inputs = {os.path.realpath(file) for file in own}
        for index in range(len(self._samples)):
            if os.path.realpath(self.path(index)) in inputs:
                raise ValueError(
                    f"predictions would overwrite {self.path(index)} of the data set: choose "
                    f"another folder than {self.folder}"
                )
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, index: int) -> Path:
        """Return the file of a sample."""
        name = self._samples[index].name if self._samples else f"{index:06d}"
        return self.folder / f"{name}{self._suffix}"

    def write(self, index: int, labels: Tensor) -> None:
        """Write the class indices of a sample, (H, W); a failed write leaves no file.

        Raises:
            OSError: If the file cannot be written; the error names it.
        """
        label_map = Image.fromarray(self._ids[labels.cpu().numpy()])
        path = self.path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, png_bytes(label_map, compression=6))

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return the written class indices of a sample, (H, W)."""
        indices = np.zeros(MAX_CLASSES, np.uint8)
        indices[self._ids] = np.arange(len(self._ids))
        labels: NDArray[np.uint8] = indices[decode_labels(self.path(index))]
        return labels
