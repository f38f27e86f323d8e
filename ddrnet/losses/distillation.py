"""The loss that makes a small network imitate a trained, larger one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DistillationLoss(nn.Module):
    """Kullback-Leibler divergence of a network's class probabilities from those of a teacher.

    The logits of both are divided by the temperature, and the divergence is multiplied by its
    square, which keeps the size of the gradients. The mean counts every position of the logits,
    those of unlabelled pixels too.

    Args:
        temperature: Above 0; higher values give more weight to classes that the teacher finds
            unlikely.

    Raises:
        ValueError: If `temperature` is not above 0.

    Source: arXiv 1503.02531.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature is above 0, got {temperature}")
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return the loss of `logits` (N, K, h, w) for `teacher_logits` of the same shape.

        The teacher gets no gradient. Logits at stride 8 are compared there.

        Raises:
            ValueError: If the shapes differ.
        """
        if logits.shape != teacher_logits.shape:
            raise ValueError(
                f"expected a teacher's logits of shape {tuple(logits.shape)}, got "
                f"{tuple(teacher_logits.shape)}: both networks need the same classes, images and "
                "`upsample`"
            )
        student, teacher = (
            (each if each.dtype == torch.float64 else each.float()).div(self.temperature)
            for each in (logits, teacher_logits.detach())
        )
        divergence = F.kl_div(  # (N, K, h, w)
            student.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True
        )
        positions = max(divergence.numel() // divergence.shape[1], 1)  # N * h * w
        return divergence.sum() * (self.temperature**2 / positions)
