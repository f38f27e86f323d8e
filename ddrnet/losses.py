"""Losses on logits at any stride, without full-resolution logits in memory.

All take logits (N, K, h, w) and a target (N, H, W) of any integer dtype, and return a scalar in
float32, inside autocast too (float64 where the logits are). Where no pixel counts, the loss is 0
with zero gradients. On a CPU a label that is no class raises ValueError. Other devices would have
to wait for such a check, so check labels when they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from ddrnet.labels import IGNORE_INDEX
from ddrnet.outputs import SegmentationOutput
from ddrnet.upsampling import upsampled_cross_entropy

MIN_KEPT = 131072
"""`min_kept` of the published training: 1/48 of its batch of six 1024 x 1024 crops per GPU."""


class _PixelLoss(nn.Module):
    """Base class of the losses: finds the pixels that count and the weights of their classes."""

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | Sequence[float] | None, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        if class_weights is not None:
            given = class_weights
            is_float = isinstance(given, Tensor) and given.is_floating_point()
            class_weights = torch.as_tensor(given, dtype=None if is_float else torch.float64)
            class_weights = class_weights.detach().clone()  # (K,)
            if class_weights.ndim != 1 or not (class_weights >= 0).all():
                raise ValueError(
                    f"class_weights are one number of at least 0 per class, got {given}"
                )
        self.register_buffer("class_weights", class_weights, persistent=False)

    def _pixel_losses(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return every pixel's cross entropy and the mask of those not ignored, both (N, H, W)."""
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ValueError(
                f"got {len(self.class_weights)} class weights for logits of "
                f"{logits.shape[1]} classes"
            )
        losses = upsampled_cross_entropy(logits, target, ignore_index=self.ignore_index)
        return losses, _valid(target, self.ignore_index)

    def _pixel_weights(self, target: Tensor, counted: Tensor, like: Tensor) -> Tensor:
        """Return the weight of each pixel's class, 0 where not `counted`, as dtype of `like`."""
        if self.class_weights is None:
            return counted.to(like.dtype)
        index = torch.where(counted, target, 0).long()  # (N, H, W)
        weights = self.class_weights.to(like).index_select(0, index.flatten())  # (N * H * W,)
        return weights.view_as(index) * counted


class CrossEntropyLoss(_PixelLoss):
    """Mean cross entropy of the pixels that are not ignored, weighted as `F.cross_entropy` does.

    Args:
        class_weights: One per class; the mean is divided by the sum of the pixels' weights.
        ignore_index: The label of pixels that do not count.
    """

    def __init__(
        self,
        *,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        super().__init__(class_weights, ignore_index)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of `logits` (N, K, h, w), at any stride, for `target` (N, H, W).

        Without a pixel that counts it is 0, with gradients of 0.
        """
        losses, valid = self._pixel_losses(logits, target)  # (N, H, W)
        weights = self._pixel_weights(target, valid, losses)  # (N, H, W)
        total = weights.sum()
        return (losses * weights).sum() / torch.where(total > 0, total, 1)


class OhemCrossEntropyLoss(_PixelLoss):
    """Cross entropy of the hard pixels: online hard example mining.

    A pixel is kept when the predicted probability of its label is below max(`threshold`, p). p is
    the (`min_kept` + 1)-th smallest such probability of the batch, or the largest one if there are
    no more. The kept cross entropies, times their class weights, are averaged by their count. In
    distributed training every process picks among the pixels of its own batch.

    Args:
        threshold: Probability below which a pixel is hard in any case.
        min_kept: Least number of pixels to keep in the whole batch, 0 or more. The default suits
            batches of six 1024 x 1024 crops: for other sizes prefer `min_kept_fraction`.
        min_kept_fraction: The same as a share of all pixels of the batch, ignored ones included,
            0 to 1; the published training kept 1/48.
        class_weights: One per class.
        ignore_index: The label of pixels that do not count.

    Raises:
        ValueError: If a number is out of its range, or both `min_kept` and `min_kept_fraction` are
            given.

    Source: arXiv 1604.03540; kept pixels as in the code of HRNet-Semantic-Segmentation.
    """

    def __init__(
        self,
        threshold: float = 0.9,
        min_kept: int = MIN_KEPT,
        *,
        min_kept_fraction: float | None = None,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        super().__init__(class_weights, ignore_index)
        if not 0 <= threshold <= 1 or min_kept < 0 or not 0 <= (min_kept_fraction or 0) <= 1:
            raise ValueError(
                "threshold and min_kept_fraction are 0 to 1 and min_kept is at least 0, got "
                f"threshold={threshold}, {min_kept=}, {min_kept_fraction=}"
            )
        if min_kept_fraction is not None and min_kept != MIN_KEPT:
            raise ValueError(
                f"min_kept={min_kept} and min_kept_fraction={min_kept_fraction} contradict each "
                "other: give one of them"
            )
        self.threshold = threshold
        self.min_kept = min_kept
        self.min_kept_fraction = min_kept_fraction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of `logits` (N, K, h, w), at any stride, for `target` (N, H, W).

        Without a pixel that counts it is 0, with gradients of 0.
        """
        losses, valid = self._pixel_losses(logits, target)  # (N, H, W)
        probability = (-losses.detach()).exp()  # (N, H, W)
        # A pixel whose loss is NaN is kept, so that divergence shows in the result.
        kept = valid & ~(probability >= self._bound(probability, valid))  # (N, H, W)
        weights = self._pixel_weights(target, kept, losses)  # (N, H, W)
        return (losses * weights).sum() / kept.sum().clamp(min=1)

    def _bound(self, probability: Tensor, valid: Tensor) -> Tensor:
        """Return max(threshold, p) without making an accelerator wait."""
        if probability.numel() == 0:
            return probability.new_tensor(self.threshold)
        min_kept = self.min_kept
        if self.min_kept_fraction is not None:
            min_kept = round(self.min_kept_fraction * probability.numel())
        if probability.is_cpu and (valid & (probability < self.threshold)).sum() > min_kept:
            return probability.new_tensor(self.threshold)
        bound = torch.where(valid, probability, 0).amax()
        if min_kept < probability.numel():
            ranked = torch.where(valid, probability, torch.inf).flatten()  # (N * H * W,)
            # Not kthvalue, which has no deterministic way on CUDA.
            smallest = ranked.topk(min_kept + 1, largest=False, sorted=False).values
            bound = torch.minimum(bound, smallest.amax())
        return bound.clamp(min=self.threshold)


class AuxiliaryLoss(nn.Module):
    """Applies a criterion to both outputs of a model with an auxiliary head.

    Args:
        criterion: Called with logits and target, once for each output.
        aux_weight: Factor of the auxiliary output's loss.

    Source: the default weight, arXiv 2101.06085.
    """

    def __init__(self, criterion: nn.Module, aux_weight: float = 0.4) -> None:
        super().__init__()
        self.criterion = criterion
        self.aux_weight = aux_weight

    def forward(self, output: SegmentationOutput, target: Tensor) -> Tensor:
        """Return loss of `output.logits` + `aux_weight` * loss of `output.aux_logits`.

        Raises:
            TypeError: If `output` is not a `SegmentationOutput`.
        """
        if not isinstance(output, SegmentationOutput):
            raise TypeError(
                "expected a SegmentationOutput of logits and auxiliary logits, got "
                f"{type(output).__name__}: build the model with aux_head=True, or call the "
                "criterion itself"
            )
        main: Tensor = self.criterion(output.logits, target)
        auxiliary: Tensor = self.criterion(output.aux_logits, target)
        return main + self.aux_weight * auxiliary


Method = Literal["inverse_log", "median_frequency"]
"""Formulas from shares of pixels to class weights."""


class LabelledDataset(Protocol):
    """A data set for `class_weights_from`: pairs of image and labels.

    A method `read_labels(index)` is optional; it saves decoding the images.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


def class_weights_from(
    dataset: LabelledDataset,
    num_classes: int | None = None,
    *,
    method: Method = "inverse_log",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Compute weights that favour rare classes, from the labels of a whole data set.

    Args:
        dataset: The data set; its labels are read once, by `read_labels` where it has that method.
        num_classes: By default the number of `dataset.classes`.
        method: "inverse_log" is 1 / ln(1.02 + the class's share of the pixels);
            "median_frequency" is m / f, where f is the class's share of the pixels of the images
            that show it, and m the median of f over the classes.
        ignore_index: The label of pixels that do not count.

    Returns:
        (K,) float32. The weights of the classes that occur average 1, so that the loss keeps its
        scale; a class that never occurs has 1.

    Raises:
        ValueError: If a label is no class, nothing is labelled, or `num_classes` is not known.

    Source: ENet, arXiv 1606.02147; median frequency balancing, arXiv 1411.4734.
    """
    classes = num_classes or len(getattr(dataset, "classes", ()))
    if classes < 1:
        raise ValueError("the data set has no `classes`: pass num_classes")
    if method not in get_args(Method):
        raise ValueError(f"method is one of {get_args(Method)}, got {method!r}")
    if len(dataset) == 0:
        raise ValueError("the data set is empty, so classes have no shares")
    read = getattr(dataset, "read_labels", None) or (lambda index: dataset[index][1])
    maps = (read(index) for index in range(len(dataset)))  # each (H, W)
    counts = torch.stack([_count(labels, classes, ignore_index) for labels in maps])  # (images, K)
    present = counts.sum(0) > 0  # (K,)
    if not present.any():
        raise ValueError("no pixel of the data set is labelled, so classes have no shares")
    total = counts.sum(0).double()  # (K,)
    if method == "inverse_log":
        weights = 1 / torch.log(1.02 + total / total.sum())
    else:
        pixels = counts.sum(1, keepdim=True)  # (images, 1)
        share = total / ((counts > 0) * pixels).sum(0)  # (K,)
        weights = share.nanquantile(0.5) / share
    return torch.where(present, weights / weights[present].mean(), 1).float()


def _count(labels: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Count the pixels of each class: (classes,)."""
    counted = labels[_valid(labels, ignore_index)].long()  # (counted pixels,)
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        wrong = torch.unique(counted[(counted < 0) | (counted >= classes)]).tolist()
        raise ValueError(
            f"labels hold {wrong}, expected 0 to {classes - 1} or the ignored {ignore_index}"
        )
    return torch.bincount(counted, minlength=classes)


def _valid(target: Tensor, ignore_index: int) -> Tensor:
    """Return the mask of pixels that count; a label that the dtype cannot hold ignores none."""
    info = torch.iinfo(target.dtype)
    if not info.min <= ignore_index <= info.max:
        return torch.ones_like(target, dtype=torch.bool)
    return target != ignore_index
