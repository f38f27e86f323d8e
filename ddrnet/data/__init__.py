"""Data sets, their transforms and their cache of decoded samples.

Public names are bound on first use: decoding an image loads no torchvision.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddrnet.data.camvid import CamVid as CamVid
    from ddrnet.data.cityscapes import Cityscapes as Cityscapes
    from ddrnet.data.dataset import FileDataset as FileDataset
    from ddrnet.data.dataset import SegmentationDataset as SegmentationDataset
    from ddrnet.data.decoding import decode_image as decode_image
    from ddrnet.data.folder import SegmentationFolder as SegmentationFolder
    from ddrnet.data.opening import open_dataset as open_dataset
    from ddrnet.data.samples import Sample as Sample
    from ddrnet.data.street_dataset import SyntheticStreets as SyntheticStreets
    from ddrnet.data.street_tree import write_streets as write_streets
    from ddrnet.data.submission import check_submission as check_submission
    from ddrnet.data.submission import write_submission as write_submission
    from ddrnet.data.transforms import Normalize as Normalize
    from ddrnet.data.transforms import RandomScaleCrop as RandomScaleCrop
    from ddrnet.data.transforms import eval_transform as eval_transform
    from ddrnet.data.transforms import train_transform as train_transform

_HOMES = {
    "camvid": ("CamVid",),
    "cityscapes": ("Cityscapes",),
    "dataset": ("FileDataset", "SegmentationDataset"),
    "decoding": ("decode_image",),
    "folder": ("SegmentationFolder",),
    "opening": ("open_dataset",),
    "samples": ("Sample",),
    "submission": ("check_submission", "write_submission"),
    "street_tree": ("write_streets",),
    "street_dataset": ("SyntheticStreets",),
    "transforms": ("Normalize", "RandomScaleCrop", "eval_transform", "train_transform"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
