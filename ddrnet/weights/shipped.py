"""Weights of ddrnet_23_nano that ship with this package, trained as docs/training.md shows."""

from __future__ import annotations

from typing import Any

from ddrnet.labels import CAMVID, CITYSCAPES
from ddrnet.weights.row import Metric, PackagedFile, WeightsRow
from ddrnet.weights.terms import CAMVID_TERMS

_OWN: dict[str, Any] = {
    "model": "ddrnet_23_nano",
    "family": "ddrnet",
    "task": "segmentation",
    "origin": "this package, docs/training.md",
    "license": "Apache-2.0",
    "license_note": "The licence of this package, which trained the weights.",
}

ROWS = (
    WeightsRow(
        **_OWN,
        tag="camvid",
        sources=(
            PackagedFile(
                filename="ddrnet_23_nano.camvid.safetensors",
                sha256="6d4dd31b688c57c78583cc99142b3255c36a8be0e75a3b25e9524ef421e6fa85",
                size=2_949_876,
            ),
        ),
        data="CamVid",
        train_split="train, 367 images of 360 x 480 (the SegNet release)",
        metrics=(Metric("mIoU", 0.7347, "CamVid", "val", (360, 480), reported_by="this project"),),
        data_terms=CAMVID_TERMS,
        recipe="ddrnet train on a CPU, from ddrnet_23_nano.synthetic: 240 epochs of cross "
        "entropy with Muon, averaged weights, the last epoch. The command and the log are in "
        "docs/training.md.",
        classes=CAMVID.classes,
    ),
    WeightsRow(
        **_OWN,
        tag="synthetic",
        sources=(
            PackagedFile(
                filename="ddrnet_23_nano.synthetic.safetensors",
                sha256="740a60076221d41eadda9f35a97028d91ed1d02e2d742c02200145b25f115bb3",
                size=2_950_420,
            ),
        ),
        data="SyntheticStreets",
        train_split="3200 rendered streets of 512 x 1024",
        metrics=(
            Metric(
                "mIoU", 0.8691, "SyntheticStreets", "100 streets of another seed", (512, 1024),
                reported_by="this project",
            ),
        ),
        data_terms="None; this package renders the streets.",
        recipe="ddrnet train on a CPU, from random weights: 20 epochs of cross entropy with "
        "Muon, averaged weights. The command and the log are in docs/training.md.",
        classes=CITYSCAPES.classes,
        caveat="trained on rendered streets alone: for trying the package, not for real photos",
    ),
)  # fmt: skip
