"""Scores models on whole images, in any number of processes, by one confusion matrix."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ddrnet.data import Cityscapes, write_submission
from ddrnet.data.dataset import iterate
from ddrnet.data.label_files import LabelFiles
from ddrnet.files import StrPath
from ddrnet.labels import IGNORE_INDEX, ClassLabel
from ddrnet.metrics import SegmentationMetrics
from ddrnet.network import DDRNet
from ddrnet.outputs import SegmentationScores
from ddrnet.predictor.engine import check_logits, prepare
from ddrnet.predictor.predictor import Predictor
from ddrnet.predictor.tta import check_scales, predict_averaged

logger = logging.getLogger(__name__)


class LabelledImages(Protocol):
    """Any data set of `ddrnet.data`, a `Subset` of one, or a list of pairs.

    A sample is an image, (C, H, W) uint8, and its labels, (H, W) of any integer type. The data set
    may have the attributes `classes`, rows of `ClassLabel`, and `ignore_index`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


def evaluate(
    model: DDRNet | Predictor,
    dataset: LabelledImages,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    batch_size: int = 1,
    num_workers: int = 0,
    device: torch.device | str | None = None,
    amp_dtype: torch.dtype | None = None,
    by_index: bool = False,
    save_labels: StrPath | None = None,
    submission: StrPath | None = None,
) -> SegmentationScores:
    """Score the main head on whole images at the resolution of their labels.

    The scores follow from one confusion matrix over all images. Under `torch.distributed`, call it
    in every process: the processes share the images, count each image once, and all return the
    scores of the whole data set. A copy of the model computes: the modes and the device of the
    model, and all random states, stay as they are.

    Classes are matched by name, in any order. Classes without names of their own (`class_0`,
    `class_1`, ...) are matched by number.

    Args:
        model: The network, not wrapped in another module; or a `Predictor`, which segments with its
            own backend, size, test-time augmentation and windows.
        dataset: The samples, without random transforms.
        scales: Factors to resize the images by; the probabilities are averaged.
        flip: Whether each scale is also seen mirrored left and right.
        batch_size: Images of one size computed together. With 1 the scores do not depend on the
            number of processes; larger batches may round differently.
        num_workers: Loader processes of each process.
        device: The device to compute on; by default that of the model. Like `scales`, `flip` and
            `amp_dtype`, it is not for a predictor.
        amp_dtype: `torch.bfloat16` or `torch.float16` for mixed precision; None computes in the
            dtype of the model. Logits are upsampled in float32 at least.
        by_index: Match classes by number although their names differ.
        save_labels: A folder for the predictions, as label files with the values and names of the
            data set; several processes need a folder that all of them see.
        submission: A zip file for the Cityscapes benchmark server; needs a `Cityscapes` data set.

    Returns:
        The scores; NaN for a data set without labels. They include the IoU of each category if
        every class of the data set has a category.

    Raises:
        TypeError: If `model` is neither a DDRNet nor a Predictor.
        ValueError: If model and data set have different classes, there is no image, a label
            belongs to no class, the logits are not finite, or an argument is invalid.
        DatasetError: If a sample cannot be read.
        OSError: If predictions cannot be written.
    """
    classes, places = _matched_classes(model, dataset, by_index)
    if isinstance(model, Predictor):
        if (tuple(scales), flip, device, amp_dtype) != ((1.0,), False, None, None):
            raise ValueError(
                "a Predictor has its own tta, device and precision: leave out scales, flip, device "
                "and amp_dtype"
            )
        predict: Callable[[Tensor], Tensor] = model.predict
    else:
        predict = _network_labels(model, scales, flip, device, amp_dtype)
    categories = [row.category for row in classes]
    metrics = SegmentationMetrics(
        len(classes),
        getattr(dataset, "ignore_index", IGNORE_INDEX),
        categories=categories if all(categories) else None,
    )
    with _label_files(dataset, classes, save_labels, submission) as files:
        for batch in _batches(dataset, batch_size, num_workers):
            predicted = predict(batch.images)  # (N, H, W)
            if places is not None:
                predicted = places.to(predicted.device)[predicted.long()]  # (N, H, W)
            metrics.update(predicted, batch.target.to(predicted.device))
            if files is not None:
                for index, labels in zip(batch.indices, predicted, strict=True):
                    files.write(index, labels)
        metrics.sync()  # waits until every process has written its files
        if submission is not None and files is not None and _rank() == 0:
            assert isinstance(dataset, Cityscapes)
            write_submission(submission, dataset, map(files.read, range(len(dataset))))
    return metrics.compute()


class _Batch(NamedTuple):
    indices: list[int]
    images: Tensor
    target: Tensor


class _Share(Dataset[tuple[int, Tensor, Tensor]]):
    """The samples of one of n processes, every n-th, with their indices."""

    def __init__(self, dataset: LabelledImages) -> None:
        self.dataset = dataset
        processes = distributed.get_world_size() if _in_group() else 1
        self.indices = range(_rank(), len(dataset), processes)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[int, Tensor, Tensor]:
        index = self.indices[position]
        return index, *self.dataset[index]


def _batches(dataset: LabelledImages, batch_size: int, num_workers: int) -> Iterator[_Batch]:
    """Yield the images of this process; the first process shows its progress on a terminal."""
    share = _Share(dataset)
    loader = DataLoader(
        share,
        batch_size,
        num_workers=num_workers,
        collate_fn=_of_one_size,
        generator=torch.Generator(),  # the default generator may belong to a training
    )
    with tqdm(total=len(share), unit="image", disable=_rank() > 0 or None) as bar:
        for groups in iterate(loader):
            for batch in groups:
                yield batch
                bar.update(len(batch.indices))


def _of_one_size(samples: list[tuple[int, Tensor, Tensor]]) -> list[_Batch]:
    """Stack the samples of the same size."""
    groups: dict[tuple[torch.Size, torch.Size], list[tuple[int, Tensor, Tensor]]] = {}
    for sample in samples:
        groups.setdefault((sample[1].shape, sample[2].shape), []).append(sample)
    return [
        _Batch(list(indices), torch.stack(images), torch.stack(targets))
        for indices, images, targets in (zip(*group, strict=True) for group in groups.values())
    ]


def _network_labels(
    model: DDRNet,
    scales: Sequence[float],
    flip: bool,
    device: torch.device | str | None,
    amp_dtype: torch.dtype | None,
) -> Callable[[Tensor], Tensor]:
    """Return a function from images (N, C, H, W) uint8 to labels (N, H, W) uint8."""
    check_scales(scales)
    network = model.without_aux_head().to(device or next(model.parameters()).device).eval()
    network.upsample = False

    def logits_of(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, amp_dtype, enabled=amp_dtype is not None):
            logits: Tensor = network(images)
        check_logits(logits)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    return lambda images: predict_averaged(logits_of, prepare(network, images), scales, flip)


@contextmanager
def _label_files(
    dataset: LabelledImages,
    classes: Sequence[ClassLabel],
    save_labels: StrPath | None,
    submission: StrPath | None,
) -> Iterator[LabelFiles | None]:
    """Open the label files of predictions; those for a submission alone are deleted at the end."""
    if submission is None:
        yield None if save_labels is None else LabelFiles(save_labels, dataset, classes)
        return
    if not isinstance(dataset, Cityscapes):
        raise ValueError(
            f"a submission needs a ddrnet.data.Cityscapes, got a {type(dataset).__name__}"
        )
    target = Path(submission)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.labels")
    try:
        yield LabelFiles(save_labels or beside, dataset, classes)
    finally:
        if _rank() == 0:
            shutil.rmtree(beside, ignore_errors=True)


def _matched_classes(
    model: DDRNet | Predictor, dataset: LabelledImages, by_index: bool
) -> tuple[Sequence[ClassLabel], Tensor | None]:
    """Match the classes of the model with those of the data set.

    Returns:
        The classes of the data set, and for each class of the model its index in the data set,
        (K,) uint8; None if the order is the same.
    """
    if not isinstance(model, DDRNet | Predictor):
        raise TypeError(
            f"expected a DDRNet or a Predictor, got {type(model)}: pass the network inside a "
            "wrapper (model.module of DistributedDataParallel, accelerator.unwrap_model(model))"
        )
    if len(dataset) == 0:
        raise ValueError("the data set has no image: there is nothing to evaluate")
    classes: Sequence[ClassLabel] = getattr(dataset, "classes", model.classes)
    own, theirs = ([row.name for row in rows] for rows in (model.classes, classes))
    if len(own) != len(theirs):
        raise ValueError(
            f"the model has {len(own)} classes ({', '.join(own)}), the data set has {len(theirs)} "
            f"({', '.join(theirs)}): evaluate with weights that were trained for these classes"
        )
    if own == theirs:
        return classes, None
    if set(own) == set(theirs) and not by_index:
        logger.info("the data set orders the classes differently: they are matched by name")
        return classes, torch.tensor([theirs.index(name) for name in own], dtype=torch.uint8)
    unnamed = [f"class_{index}" for index in range(len(own))]
    if not by_index and unnamed not in (own, theirs):
        raise ValueError(
            f"the classes have different names: only the model has {_only(own, theirs)}; only the "
            f"data set has {_only(theirs, own)}. Evaluate with weights that were trained for "
            "these classes, or match them by number with by_index=True (--by-index)"
        )
    logger.info("classes are matched by number: %s", ", ".join(map("{} = {}".format, own, theirs)))
    return classes, None


def _only(names: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(name for name in names if name not in others)


def _rank() -> int:
    return distributed.get_rank() if _in_group() else 0


def _in_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()
