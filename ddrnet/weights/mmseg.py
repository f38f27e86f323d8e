"""Checkpoints of open-mmlab/mmsegmentation, as its `configs/ddrnet` lists them."""

from __future__ import annotations

from typing import Any

from ddrnet.labels import CITYSCAPES
from ddrnet.weights.row import Metric, WebFile, WeightsRow
from ddrnet.weights.terms import CITYSCAPES_TERMS, IMAGENET_TERMS

_BASE = "https://download.openmmlab.com/mmsegmentation/v0.5/ddrnet/"

_ORIGIN: dict[str, Any] = {
    "family": "mmseg",
    "origin": "https://github.com/open-mmlab/mmsegmentation/tree/main/configs/ddrnet",
    "license": "Apache-2.0",
    "license_note": "The licence of the repository; its metafile names the same for the models.",
}

_CITYSCAPES: dict[str, Any] = {
    **_ORIGIN,
    "tag": "cityscapes_mmseg",
    "task": "segmentation",
    "data": "Cityscapes",
    "train_split": "fine annotations, train",
    "classes": CITYSCAPES.classes,
    "data_terms": CITYSCAPES_TERMS,
    "recipe": "ImageNet initialisation, OHEM cross entropy with class weights, auxiliary OHEM "
    "x 0.4, SGD, 120k iterations, 2 GPUs x 6 crops of 1024 x 1024, SyncBN.",
    "unverified": ("Hash: only the first 8 digits are known.", "Container: inferred from code."),
}

_IMAGENET: dict[str, Any] = {
    **_ORIGIN,
    "tag": "in1k_mmseg",
    "task": "backbone",
    "data": "ImageNet-1k",
    "train_split": "train",
    "metrics": (),
    "data_terms": IMAGENET_TERMS,
    "recipe": "The authors' ImageNet weights, converted by mmsegmentation, without the classifier.",
    "unverified": (
        "Hash: only the first 8 digits are known.",
        "Container and additional keys: unknown.",
        "Biases of the stem: folded into BatchNorm or dropped, it is not known which.",
    ),
}


def _miou(single: float, multi: float) -> tuple[Metric, ...]:
    by = "mmsegmentation"
    return (
        Metric("mIoU", single, "Cityscapes", "val", (1024, 2048), reported_by=by),
        Metric(
            "mIoU",
            multi,
            "Cityscapes",
            "val",
            (1024, 2048),
            scales="multi",
            flip=True,
            reported_by=by,
        ),
    )


def _file(path: str, sha256: str) -> tuple[WebFile, ...]:
    return (WebFile((f"{_BASE}{path}-{sha256}.pth",), sha256=sha256),)


_SLIM_RUN = "ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024"
_RUN = "ddrnet_23_in1k-pre_2xb6-120k_cityscapes-1024x1024"

ROWS = (
    WeightsRow(
        model="ddrnet_23_slim",
        sources=_file(f"{_SLIM_RUN}/{_SLIM_RUN}_20230426_145312", "6a5e5174"),
        metrics=_miou(0.7784, 0.8015),
        **_CITYSCAPES,
    ),
    WeightsRow(
        model="ddrnet_23",
        sources=_file(f"{_RUN}/{_RUN}_20230425_162633", "81601db0"),
        metrics=_miou(0.7999, 0.8171),
        **_CITYSCAPES,
    ),
    WeightsRow(
        model="ddrnet_23_slim",
        sources=_file("pretrain/ddrnet23s-in1kpre_3rdparty", "1ccac5b1"),
        **_IMAGENET,
    ),
    WeightsRow(
        model="ddrnet_23",
        sources=_file("pretrain/ddrnet23-in1kpre_3rdparty", "9ca29f62"),
        **_IMAGENET,
    ),
)
"""mmsegmentation has no DDRNet-39."""
