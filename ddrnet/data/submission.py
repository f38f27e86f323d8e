"""Submissions to the Cityscapes benchmark server: a zip file of label id images."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from itertools import zip_longest
from typing import BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddrnet.data.cityscapes import Cityscapes
from ddrnet.data.decoding import image_size
from ddrnet.data.samples import Sample
from ddrnet.errors import DatasetError
from ddrnet.files import StrPath, open_atomically, png_bytes
from ddrnet.labels import CITYSCAPES

PREDICTION_SUFFIX = "_pred_labelIds.png"
"""Follows the name of the sample in the name of its prediction."""


def write_submission(
    path: StrPath,
    dataset: Cityscapes,
    predictions: Iterable[Tensor | NDArray[np.integer]],
) -> None:
    """Write the predictions of a Cityscapes split as a zip file for the benchmark server.

    Train ids become label ids, and `berlin_000000_000019_leftImg8bit.png` becomes
    `berlin_000000_000019_pred_labelIds.png`. The file is read back by `check_submission` before it
    gets its name: a failure leaves no half file.

    Args:
        path: The zip file; an existing one is replaced.
        dataset: The images, in the order of the predictions: `Cityscapes(root, "test")`.
        predictions: A map of train ids per image, (H, W) as the image; may be a generator.

    Raises:
        ValueError: If the numbers of predictions and images differ, or a prediction differs in size
            from its image or holds other values than train ids.
    """
    with open_atomically(path) as file:
        with ZipFile(file, "w", ZIP_STORED) as archive:
            for count, (sample, prediction) in enumerate(zip_longest(dataset.samples, predictions)):
                if sample is None or prediction is None:
                    got = "more" if sample is None else count
                    raise ValueError(
                        f"expected {len(dataset)} predictions, one per image, got {got}"
                    )
                label_map = Image.fromarray(_label_ids(prediction, sample))
                archive.writestr(
                    sample.name + PREDICTION_SUFFIX, png_bytes(label_map, compression=6)
                )
        _check_archive(file, dataset, path)


def check_submission(path: StrPath, dataset: Cityscapes) -> None:
    """Check a submission.

    Raises:
        DatasetError: If the zip file is damaged, or does not hold exactly one prediction per image
            of the data set, with the size of the image and label ids of Cityscapes.
    """
    with open(path, "rb") as file:
        _check_archive(file, dataset, path)


def _check_archive(file: BinaryIO, dataset: Cityscapes, path: StrPath) -> None:
    try:
        with ZipFile(file) as archive:
            _check_names(archive.namelist(), [s.name + PREDICTION_SUFFIX for s in dataset.samples])
            for sample in dataset.samples:
                _check_image(archive.read(sample.name + PREDICTION_SUFFIX), sample)
    except (BadZipFile, ValueError) as error:
        raise DatasetError(f"{os.fspath(path)} is not a valid submission: {error}") from error


def _label_ids(prediction: Tensor | NDArray[np.integer], sample: Sample) -> NDArray[np.uint8]:
    train_ids = np.asarray(prediction.cpu() if isinstance(prediction, Tensor) else prediction)
    size = image_size(sample.image)
    if train_ids.shape != size or train_ids.dtype.kind not in "iu":
        raise ValueError(
            f"the prediction for {sample.image} must be an integer map of the size {size}, "
            f"got {train_ids.dtype} of shape {train_ids.shape}"
        )
    known = [*range(len(CITYSCAPES.classes)), 255]
    strange = np.setdiff1d(train_ids, known)
    if strange.size:
        raise ValueError(
            f"the prediction for {sample.image} holds {strange[:10].tolist()}, expected train ids "
            f"0-{len(CITYSCAPES.classes) - 1}, or 255 for no class"
        )
    return np.frombuffer(CITYSCAPES.train_id_to_id, np.uint8).take(train_ids)


def _check_names(names: list[str], expected: list[str]) -> None:
    missing, extra = sorted(set(expected) - set(names)), sorted(set(names) - set(expected))
    if missing or extra or len(names) != len(expected):
        raise ValueError(
            f"{len(names)} files for {len(expected)} images; missing: {missing[:3]}, "
            f"not expected: {extra[:3]}"
        )


def _check_image(content: bytes, sample: Sample) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            label_ids = np.array(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{sample.name} is not a readable image: {error}") from error
    if label_ids.shape != image_size(sample.image):
        raise ValueError(f"{sample.name} differs in size from its image")
    if set(np.unique(label_ids).tolist()) - CITYSCAPES.known_ids:
        raise ValueError(f"{sample.name} holds other values than the label ids of Cityscapes")
