"""Losses of logits against labels: cross entropy of all pixels or of the hard ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddrnet.labels import IGNORE_INDEX
from ddrnet.outputs import SegmentationOutput
from ddrnet.upsampling import upsampled_cross_entropy
from ddrnet.upsampling.cross_entropy import check_labels, counted_pixels, summed_cross_entropy

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

    def _check(self, logits: Tensor, target: Tensor) -> None:
        check_labels(logits, target, self.ignore_index)
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ValueError(
                f"got {len(self.class_weights)} class weights for logits of "
                f"{logits.shape[1]} classes"
            )

    def _pixel_weights(self, target: Tensor, counted: Tensor, logits: Tensor) -> Tensor:
        """Return the weight of each pixel's class, (N, H, W), 0 where it is not `counted`."""
        dtype = torch.promote_types(logits.dtype, torch.float32)
        if self.class_weights is None:
            return counted.to(dtype)
        index = torch.where(counted, target, 0).long()  # (N, H, W)
        weights = self.class_weights.to(index.device, dtype).index_select(0, index.flatten())
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
        self._check(logits, target)
        weights = self._pixel_weights(target, counted_pixels(target, self.ignore_index), logits)
        total = weights.sum()
        return summed_cross_entropy(logits, target, weights) / torch.where(total > 0, total, 1)


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
        self._check(logits, target)
        losses = upsampled_cross_entropy(logits, target, ignore_index=self.ignore_index)
        valid = counted_pixels(target, self.ignore_index)  # (N, H, W), like losses
        probability = (-losses.detach()).exp()  # (N, H, W)
        # A pixel whose loss is NaN is kept, so that divergence shows in the result.
        kept = valid & ~(probability >= self._bound(probability, valid))  # (N, H, W)
        weights = self._pixel_weights(target, kept, logits)  # (N, H, W)
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
