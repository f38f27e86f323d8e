"""Scores of a segmentation over a whole data set, from one confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from ddrnet.labels import IGNORE_INDEX
from ddrnet.outputs import SegmentationScores
from ddrnet.upsampling import upsample, upsample_argmax

_BYTES = 256


class SegmentationMetrics:
    """Counts pixels by true and predicted class; the scores follow from the counts alone.

    Args:
        num_classes: Classes 0 to `num_classes` - 1.
        ignore_index: The label of pixels that do not count.
        categories: The category of each class, in the order of the classes.

    Raises:
        ValueError: If `num_classes` is below 1, or `categories` does not name one per class.

    Example:
        >>> metrics = SegmentationMetrics(num_classes=2)
        >>> metrics.update(torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, 255]]))
        >>> metrics.compute().iou
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int = IGNORE_INDEX,
        *,
        categories: Sequence[str] | None = None,
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes is at least 1, got {num_classes}")
        if categories is not None and len(categories) != num_classes:
            raise ValueError(
                f"expected the category of each of {num_classes} classes, got {len(categories)}: "
                f"{list(categories)}"
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.categories = tuple(categories or ())
        self.reset()

    def __repr__(self) -> str:
        return f"SegmentationMetrics({self.num_classes}, ignore_index={self.ignore_index})"

    def reset(self) -> None:
        """Forget all counts."""
        # Rows: the classes, ignored, no class. Columns: the classes, no class.
        self._own = torch.zeros(self.num_classes + 2, self.num_classes + 1, dtype=torch.int64)
        self._shared = torch.zeros_like(self._own)

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Count a batch, without making an accelerator wait.

        Args:
            predicted: Class indices in any integer dtype, in the shape of `target`, or logits
                (N, K, h, w) at any stride, whose full-resolution argmax is taken. Pixels next to
                NaN or infinite logits count as predictions outside of the classes.
            target: (N, H, W), true class indices in any integer dtype.

        Raises:
            ValueError: If shapes do not fit, or on a CPU if a label in `target` is no class;
                `compute` finds such labels on other devices.
        """
        if predicted.is_floating_point():
            if predicted.ndim != 4 or predicted.shape[1] != self.num_classes or target.ndim != 3:
                raise ValueError(
                    f"expected logits of shape (N, {self.num_classes}, h, w) for labels (N, H, W), "
                    f"got {tuple(predicted.shape)} for {tuple(target.shape)}"
                )
            predicted = self._leading(predicted, target.shape[1:])
        if predicted.shape != target.shape or target.is_floating_point():
            raise ValueError(
                "expected class indices for every pixel of integer labels, got predictions of "
                f"shape {tuple(predicted.shape)} for {target.dtype} {tuple(target.shape)}"
            )
        counts = self._count(predicted, target)  # (K + 2, K + 1)
        if counts.is_cpu and counts[-1].any():
            known = {self.ignore_index, *range(self.num_classes)}
            wrong = [value for value in torch.unique(target).tolist() if value not in known]
            raise ValueError(
                f"target holds the labels {wrong}, expected 0 to {self.num_classes - 1} or the "
                f"ignored {self.ignore_index}: map them to classes when the data is read"
            )
        self._own = self._own.to(counts.device) + counts

    def _leading(self, logits: Tensor, size: torch.Size) -> Tensor:
        """Return the leading classes, (N, H, W); where logits are NaN or infinite, no class."""
        labels = upsample_argmax(logits, size)
        broken = ~logits.isfinite().all(1, keepdim=True)  # (N, 1, h, w)
        if broken.is_cpu and not broken.any():
            return labels
        labels = labels if self.num_classes < _BYTES else labels.long()
        nearby = upsample(broken.float(), size)[:, 0] > 0  # (N, H, W)
        return labels.masked_fill(nearby, self.num_classes)

    def _count(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the counts of one batch, laid out as `_own`."""
        if _fits_bytes(predicted) and _fits_bytes(target):
            pairs = target.flatten().to(torch.int32) * _BYTES + predicted.flatten().to(torch.uint8)
            number = torch.bincount(pairs, minlength=_BYTES**2).view(_BYTES, _BYTES)
            values = torch.arange(_BYTES)  # targets down, predictions across
            return self._count_weighted(values, values.unsqueeze(1), number)
        ones = torch.ones((), dtype=torch.int64, device=target.device)
        return self._count_weighted(predicted.long(), target.long(), ones)

    def _count_weighted(self, predicted: Tensor, target: Tensor, number: Tensor) -> Tensor:
        """Count pairs of int64 labels, each `number` times; the three are broadcast together."""
        classes = self.num_classes
        no_class = (target < 0) | (target >= classes)
        row = torch.where(no_class, classes + 1, target)
        row = torch.where(target == self.ignore_index, classes, row)
        column = torch.where((predicted < 0) | (predicted >= classes), classes, predicted)
        cell = row * (classes + 1) + column
        counts = torch.zeros_like(self._own, device=cell.device)
        counts.view(-1).scatter_add_(0, cell.flatten(), number.expand(cell.shape).flatten())
        return counts

    def merge(self, other: SegmentationMetrics) -> None:
        """Add the counts of `other`.

        Raises:
            ValueError: If `other` counts other classes.
        """
        if (other.num_classes, other.ignore_index) != (self.num_classes, self.ignore_index):
            raise ValueError(f"cannot merge {other} into {self}: they count other labels")
        self._own = self._own + other._own.to(self._own.device)
        self._shared = self._shared + other._shared

    def sync(self) -> None:
        """Give every process of torch.distributed the total of all counts.

        Repeated calls add nothing twice. Without a process group nothing happens.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        total = self._own.cuda() if distributed.get_backend() == "nccl" else self._own.clone()
        distributed.all_reduce(total)
        self._shared = self._shared + total.cpu()
        self._own = torch.zeros_like(self._own)

    def compute(self) -> SegmentationScores:
        """Return the scores of everything counted so far.

        Raises:
            ValueError: If a label in a `target` was no class.
        """
        counts = self._own.cpu() + self._shared  # (K + 2, K + 1)
        classes = self.num_classes
        if wrong := int(counts[-1].sum()):
            raise ValueError(
                f"{wrong} target pixels hold labels that are neither 0 to {classes - 1} nor the "
                f"ignored {self.ignore_index}: map them to classes when the data is read"
            )
        confusion, outside = counts[:classes, :classes], counts[:classes, classes]
        present = confusion.sum(1) + outside  # (K,)
        iou = _iou(confusion, present)
        share = present.double() / present.sum()
        return SegmentationScores(
            mean_iou=float(iou.nanmean()),
            iou=iou,
            category_iou=self._category_iou(confusion, present),
            pixel_accuracy=float(confusion.trace().double() / present.sum()),
            frequency_weighted_iou=float((share * iou)[share != 0].sum()),
            confusion=confusion,
            outside=outside,
        )

    def _category_iou(self, confusion: Tensor, present: Tensor) -> dict[str, float]:
        if not self.categories:
            return {}
        names = list(dict.fromkeys(self.categories))
        # (categories, K)
        members = torch.tensor([[name == own for own in self.categories] for name in names]).long()
        iou = _iou(members @ confusion @ members.T, members @ present)
        return dict(zip(names, iou.tolist(), strict=True))


def _iou(confusion: Tensor, present: Tensor) -> Tensor:
    """Return intersection over union in float64; `present` is the true pixels of each class."""
    hits = confusion.diagonal()
    return hits.double() / (present + confusion.sum(0) - hits)


def _fits_bytes(labels: Tensor) -> bool:
    """Whether all labels are known to be 0 to 255, without waiting for an accelerator."""
    if not labels.is_cpu or labels.numel() == 0 or labels.dtype == torch.uint8:
        return labels.is_cpu
    low, high = labels.aminmax()
    return int(low) >= 0 and int(high) < _BYTES
