"""Checkpoints of Deci-AI/super-gradients at commit e0ccacf (2024-09-17)."""

from __future__ import annotations

from typing import Any

from ddrnet.labels import CITYSCAPES
from ddrnet.weights.row import Metric, WebFile, WeightsRow
from ddrnet.weights.terms import CITYSCAPES_TERMS

_CITYSCAPES: dict[str, Any] = {
    "tag": "cityscapes_sg",
    "family": "supergradients",
    "task": "segmentation",
    "data": "Cityscapes",
    "train_split": "fine annotations, train",
    "classes": CITYSCAPES.classes,
    "origin": "https://github.com/Deci-AI/super-gradients",
    "license": "Apache-2.0",
    "license_note": "The repository's licence; its licence for weights covers YOLO-NAS only.",
    "data_terms": CITYSCAPES_TERMS,
}
_RECIPE = (
    "ImageNet initialisation, Dice and edge cross entropy, SGD, 500 epochs, 4 GPUs x 6 crops of "
    "1024 x 1024, SyncBN, averaged weights"
)
_UNVERIFIED = (
    "Hash: none is published.",
    "Container and auxiliary head: inferred from code.",
)


def _file(name: str) -> tuple[WebFile, ...]:
    return (WebFile((f"https://sg-hub-nv.s3.amazonaws.com/models/{name}_cityscapes.pth",)),)


def _miou(value: float) -> tuple[Metric, ...]:
    return (
        Metric("mIoU", value, "Cityscapes", "val", (1024, 2048), reported_by="super-gradients"),
    )


_DISTILLED: dict[str, Any] = {
    "distillation": "Channel-wise; the teacher is the DDRNet-39 of the same tag, which was trained "
    "with extra labels.",
    "recipe": f"{_RECIPE}; distillation.",
    "unverified": _UNVERIFIED,
    **_CITYSCAPES,
}

ROWS = (
    WeightsRow(
        model="ddrnet_23_slim",
        sources=_file("ddrnet_23_slim"),
        metrics=_miou(0.7941),
        **_DISTILLED,
    ),
    WeightsRow(model="ddrnet_23", sources=_file("ddrnet_23"), metrics=_miou(0.8148), **_DISTILLED),
    WeightsRow(
        model="ddrnet_39",
        sources=_file("ddrnet_39"),
        metrics=_miou(0.8517),
        extra_data="Cityscapes train_extra with automatic labels by NVIDIA: the result is not "
        "comparable with results of fine annotations alone.",
        recipe=f"{_RECIPE}.",
        unverified=(
            *_UNVERIFIED,
            "Result and extra labels: taken from the repository's tests; its table prints 81.32, "
            "the result of an older file that was trained without extra labels.",
        ),
        **_CITYSCAPES,
    ),
)
