"""Checkpoints of the authors, ydhongHIT/DDRNet at commit de0db31 (2023-06-19)."""

from __future__ import annotations

from typing import Any

from ddrnet.labels import CITYSCAPES
from ddrnet.weights.row import Metric, WebFile, WeightsRow
from ddrnet.weights.terms import CITYSCAPES_TERMS, IMAGENET_TERMS

_ORIGIN: dict[str, Any] = {
    "family": "official",
    "origin": "https://github.com/ydhongHIT/DDRNet",
    "license": "MIT",
    "license_note": "The repository's licence, (c) 2020 xingkong; none is stated for the weights.",
}

_CITYSCAPES: dict[str, Any] = {
    **_ORIGIN,
    "tag": "cityscapes",
    "task": "segmentation",
    "data": "Cityscapes",
    "train_split": "fine annotations, train",
    "classes": CITYSCAPES.classes,
    "data_terms": CITYSCAPES_TERMS,
    "recipe": "ImageNet initialisation, OHEM cross entropy, auxiliary OHEM x 0.4, crops of "
    "1024 x 1024 at scales 0.5-2.0 with flips (the paper); no training code was published.",
}

_IMAGENET: dict[str, Any] = {
    **_ORIGIN,
    "task": "classification",
    "data": "ImageNet-1k",
    "train_split": "train",
    "data_terms": IMAGENET_TERMS,
}

_NORMALISATION = "Normalisation: inferred from the training code that the author links to."


def _drive(file_id: str, **known: Any) -> WebFile:
    """Return a Google Drive file with two links: the direct one, and the one for large files."""
    return WebFile(
        (
            f"https://drive.google.com/uc?export=download&id={file_id}",
            f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t",
        ),
        **known,
    )


def _miou(value: float, *, flip: bool = False, reported_by: str = "the authors") -> Metric:
    return Metric(
        "mIoU", value, "Cityscapes", "val", (1024, 2048), flip=flip, reported_by=reported_by
    )


def _top1(value: float) -> tuple[Metric, ...]:
    return (Metric("top-1 accuracy", value, "ImageNet-1k", "val", (224, 224)),)


ROWS = (
    WeightsRow(
        model="ddrnet_23_slim",
        sources=(
            _drive("1d_K3Af5fKHYwxSo8HkxpnhiekhwovmiP"),
            # The name says ImageNet by mistake: the loader beside it reads 19 classes.
            WebFile(
                (
                    "https://qaihub-public-assets.s3.us-west-2.amazonaws.com/qai-hub-models/models/"
                    "ddrnet23_slim/v1/DDRNet23s_imagenet.pth",
                )
            ),
        ),
        metrics=(
            _miou(0.778),
            _miou(0.7783, reported_by="chenjun2hao/DDRNet.pytorch"),
            _miou(0.7842, flip=True, reported_by="chenjun2hao/DDRNet.pytorch"),
        ),
        unverified=(
            "Hashes: none are published.",
            "Second source: a copy by Qualcomm AI Hub, whose code names the first as its origin.",
        ),
        **_CITYSCAPES,
    ),
    WeightsRow(
        model="ddrnet_23",
        sources=(_drive("16viDZhbmuc3y7OSsUo2vhA7V6kYO0KX6"),),
        metrics=(
            _miou(0.795),
            _miou(0.7951, reported_by="chenjun2hao/DDRNet.pytorch"),
            _miou(0.7998, flip=True, reported_by="chenjun2hao/DDRNet.pytorch"),
        ),
        unverified=("Hash: none is published.",),
        **_CITYSCAPES,
    ),
    WeightsRow(
        model="ddrnet_23_slim",
        tag="in1k",
        sources=(
            _drive(
                "1mg5tMX7TJ9ZVcAiGSB4PEihPtrJyalB4",
                sha256="f6d03fa29b80e2e648f89a7639eb0c6d6c088e8f70f2cba1b2872b314a5c54b6",
                size=30_406_472,
                enforced=False,
            ),
        ),
        metrics=_top1(0.702),
        recipe="Not published in detail; 224 x 224 crops.",
        unverified=(
            "Hash and size: reported by public copies of the file, not by the authors.",
            _NORMALISATION,
        ),
        **_IMAGENET,
    ),
    WeightsRow(
        model="ddrnet_23",
        tag="in1k",
        sources=(_drive("1VoUsERBeuCaiuQJufu8PqpKKtGvCTdug"),),
        metrics=_top1(0.759),
        recipe="Not published in detail; 224 x 224 crops.",
        unverified=("Hash: none is published.", _NORMALISATION),
        **_IMAGENET,
    ),
    WeightsRow(
        model="ddrnet_39",
        tag="in1k",
        sources=(_drive("122CMx6DZBaRRf-dOHYwuDY9vG0_UQ10i"),),
        metrics=_top1(0.773),
        recipe="Not published in detail; 224 x 224 crops.",
        unverified=(
            "Hash: none is published.",
            "Container: inferred from the authors' loader.",
            _NORMALISATION,
        ),
        **_IMAGENET,
    ),
    WeightsRow(
        model="ddrnet_23_slim",
        tag="in1k_timm",
        sources=(_drive("17sgZ8mRJFhsItmdTrifI1rloVq5K1WiC"),),
        metrics=_top1(0.737),
        recipe="timm: batch 256, warm-up, cosine schedule, 300 epochs, label smoothing.",
        unverified=(
            "Hash: none is published.",
            "Container: unknown, possibly a training checkpoint of timm.",
            "Normalisation and 224 x 224 input: assumed to be timm's defaults.",
        ),
        **_IMAGENET,
    ),
)
"""The authors published no Cityscapes weights of DDRNet-39."""
