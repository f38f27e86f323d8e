"""Published recipes, as data."""

from __future__ import annotations

from typing import NamedTuple

from ddrnet.training.settings import Settings

# fmt: off
CITYSCAPES_WEIGHTS = (
    0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
    0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)
# fmt: on
"""Source: the class weights in the configuration files of HRNet and of all DDRNet code since."""


class Recipe(NamedTuple):
    """Settings to start from, and where they come from."""

    about: str
    settings: Settings


_PAPER = Recipe(
    "Batch 12 over 4 GPUs with SyncBN: torchrun --nproc-per-node 4 (3 crops each). Published by "
    "others, not measured here: val mIoU 77.8 (slim), 79.5 (23), about 1 % from run to run. "
    "Sources: configurations of chenjun2hao/DDRNet.pytorch and mmsegmentation; arXiv 2101.06085.",
    Settings(
        batch_size=3,
        epochs=484,
        lr=0.01,
        min_kept_fraction=None,
        precision="no",
        validate_every=4,
    ),
)
_SINGLE_GPU = Recipe(
    "One GPU of 8 GB: half precision, and OHEM that keeps a share of the pixels, because the "
    "published count would be another loss at this batch size. pyradd/DDRNet-pytorch reports 77.38 "
    "val mIoU for one run of DDRNet-23 with this rate, batch and length on an RTX 2070 Super; not "
    "measured here. Out of memory: --batch-size 4, not a smaller crop.",
    Settings(),
)
_SUPERGRADIENTS = Recipe(
    "Batch 24 over 4 GPUs with SyncBN: two learning rates, warm-up, no decay of BatchNorm and "
    "biases, averaged weights. The original uses Dice and edge losses where this uses OHEM, so its "
    "78.0 (slim), 80.3 (23), 81.3 (39) val mIoU are no promise; not measured here. Source: the "
    "cityscapes_ddrnet recipe of super-gradients.",
    Settings(
        batch_size=6,
        epochs=500,
        lr=0.0075,
        head_factor=10.0,
        decay_norm_and_bias=False,
        warmup_epochs=10,
        color_jitter=0.5,
        ema=0.9999,
        min_kept_fraction=None,
        class_weights="none",
        precision="no",
        validate_every=4,
    ),
)
RECIPES = {"paper": _PAPER, "single-gpu": _SINGLE_GPU, "supergradients": _SUPERGRADIENTS}
DEFAULT_RECIPE = "single-gpu"
