"""The trained network that a run learns from besides the labels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import accelerate
import torch
from torch import Tensor

from ddrnet.data import Normalize
from ddrnet.factory import trained_model
from ddrnet.fusing import fuse
from ddrnet.labels import ClassLabel
from ddrnet.losses import DistillationLoss
from ddrnet.network import DDRNet
from ddrnet.outputs import SegmentationOutput
from ddrnet.training.settings import Settings

logger = logging.getLogger(__name__)


class Teacher:
    """A frozen network, and the loss of a student that differs from it.

    Args:
        settings: Names the network, the weight of the loss, its temperature and the memory format.
        classes: The classes of the data and therefore of the student.
        accelerator: Gives device and precision.

    Attributes:
        fingerprint: SHA-256 of the network's tensors.

    Raises:
        ValueError: If the network has other classes or does not take RGB images.
        DDRNetError: If its weights cannot be had.
    """

    def __init__(
        self, settings: Settings, classes: Sequence[ClassLabel], accelerator: accelerate.Accelerator
    ) -> None:
        assert settings.teacher is not None, "a run without a teacher builds none"
        logger.info("learning from %s too", settings.teacher)
        network = trained_model(settings.teacher)
        if network.in_chans != 3:
            raise ValueError(
                f"--teacher {settings.teacher} takes images of {network.in_chans} channels, the "
                "training images have 3"
            )
        self.order = matched_classes(settings.teacher, network, classes)  # (K,) or None
        self.fingerprint = _fingerprint(network)
        network = fuse(network.without_aux_head()).requires_grad_(False)
        network.upsample = False
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network = network.to(accelerator.device).to(memory_format=layout)
        if self.order is not None:
            self.order = self.order.to(accelerator.device)
        self.normalize = Normalize.from_model(network).to(accelerator.device)
        self.weight, self.criterion = (
            settings.distill_weight,
            DistillationLoss(settings.temperature),
        )
        self._accelerator = accelerator

    def check_resumed(self, settings: Settings, saved: Mapping[str, Any]) -> None:
        """Raise ValueError if the checkpoint's run had another network of the same name."""
        same_name = saved["settings"].get("teacher") == settings.teacher
        if same_name and saved.get("teacher") != self.fingerprint:
            raise ValueError(
                f"--teacher {settings.teacher} has changed since the run began: resume with the "
                "same weights, or pass the new ones under another name"
            )

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of uint8 images, (N, K, h, w), with the classes in the data's order."""
        with self._accelerator.autocast():
            logits: Tensor = self.network(self.normalize(images))
        return logits if self.order is None else logits.index_select(1, self.order)

    def loss(self, images: Tensor, output: Tensor | SegmentationOutput) -> Tensor:
        """Return the weighted loss of a student's output for these images, (N, 3, H, W) uint8."""
        logits = output.logits if isinstance(output, SegmentationOutput) else output
        loss: Tensor = self.criterion(logits, self.logits(images))
        return self.weight * loss


def build_teacher(
    settings: Settings, classes: Sequence[ClassLabel], accelerator: accelerate.Accelerator
) -> Teacher | None:
    """Return the teacher that the settings name, if there is one.

    Raises:
        ValueError: If its settings are given without its name; all errors of `Teacher` too.
    """
    if settings.teacher is not None:
        return Teacher(settings, classes, accelerator) if settings.distill_weight > 0 else None
    usual = Settings()
    if (settings.distill_weight, settings.temperature) != (usual.distill_weight, usual.temperature):
        raise ValueError("--distill-weight and --temperature need a --teacher")
    return None


def matched_classes(name: str, teacher: DDRNet, classes: Sequence[ClassLabel]) -> Tensor | None:
    """Return the teacher's channel of each class, (K,); None if the order is the same.

    Raises:
        ValueError: If the teacher has other classes.
    """
    own, theirs = [row.name for row in classes], [row.name for row in teacher.classes]
    if own == theirs:
        return None
    if sorted(own) == sorted(theirs):
        logger.info("the teacher orders the classes differently: they are matched by name")
        return torch.tensor([theirs.index(name) for name in own])
    if len(own) == len(theirs) and [f"class_{k}" for k in range(len(own))] in (own, theirs):
        logger.info("the teacher's classes are matched by number: they have no names")
        return None
    raise ValueError(
        f"--teacher {name} was trained for other classes: it alone has {_only(theirs, own)}; the "
        f"data alone has {_only(own, theirs)}. Train a teacher on this data first"
    )


def _only(names: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(name for name in names if name not in others) or "none"


def _fingerprint(network: DDRNet) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
