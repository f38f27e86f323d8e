"""DDRNet: real-time semantic segmentation of road scenes.

`ddrnet.create_model("ddrnet_23")` builds a network. Importing the package loads no torch: every
public name is bound when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddrnet import data as data
    from ddrnet import losses as losses
    from ddrnet import metrics as metrics
    from ddrnet import training as training
    from ddrnet import upsampling as upsampling
    from ddrnet import visualize as visualize
    from ddrnet.errors import CheckpointError as CheckpointError
    from ddrnet.errors import DatasetError as DatasetError
    from ddrnet.errors import DDRNetError as DDRNetError
    from ddrnet.errors import ExportError as ExportError
    from ddrnet.errors import HubError as HubError
    from ddrnet.errors import MissingPackageError as MissingPackageError
    from ddrnet.errors import PredictionError as PredictionError
    from ddrnet.errors import UnknownModelError as UnknownModelError
    from ddrnet.errors import UnsafeCheckpointError as UnsafeCheckpointError
    from ddrnet.errors import WeightsUnavailableError as WeightsUnavailableError
    from ddrnet.evaluation import evaluate as evaluate
    from ddrnet.exporting.exporter import export as export
    from ddrnet.factory import create_model as create_model
    from ddrnet.factory import load_checkpoint as load_checkpoint
    from ddrnet.fusing import fuse as fuse
    from ddrnet.labels import CAMVID as CAMVID
    from ddrnet.labels import CITYSCAPES as CITYSCAPES
    from ddrnet.labels import ClassLabel as ClassLabel
    from ddrnet.labels import LabelTable as LabelTable
    from ddrnet.network import DDRNet as DDRNet
    from ddrnet.network import freeze_batch_norm as freeze_batch_norm
    from ddrnet.outputs import SegmentationOutput as SegmentationOutput
    from ddrnet.outputs import SegmentationScores as SegmentationScores
    from ddrnet.predictor.predictor import Predictor as Predictor
    from ddrnet.predictor.segmentation import Segmentation as Segmentation
    from ddrnet.pretrained.saving import push_to_hub as push_to_hub
    from ddrnet.pretrained.saving import save_pretrained as save_pretrained
    from ddrnet.registry import get_weights as get_weights
    from ddrnet.registry import is_model as is_model
    from ddrnet.registry import list_models as list_models
    from ddrnet.registry import register_model as register_model
    from ddrnet.variants import DDRNetConfig as DDRNetConfig
    from ddrnet.variants import FusionStage as FusionStage
    from ddrnet.weights.row import Preprocessing as Preprocessing
    from ddrnet.weights.row import WeightsRow as WeightsRow

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "CheckpointError",
        "DatasetError",
        "DDRNetError",
        "ExportError",
        "HubError",
        "MissingPackageError",
        "PredictionError",
        "UnknownModelError",
        "UnsafeCheckpointError",
        "WeightsUnavailableError",
    ),
    "evaluation": ("evaluate",),
    "exporting.exporter": ("export",),
    "factory": ("create_model", "load_checkpoint"),
    "fusing": ("fuse",),
    "labels": ("CAMVID", "CITYSCAPES", "ClassLabel", "LabelTable"),
    "network": ("DDRNet", "freeze_batch_norm"),
    "outputs": ("SegmentationOutput", "SegmentationScores"),
    "pretrained.saving": ("push_to_hub", "save_pretrained"),
    "predictor.predictor": ("Predictor",),
    "predictor.segmentation": ("Segmentation",),
    "registry": ("get_weights", "is_model", "list_models", "register_model"),
    "variants": ("DDRNetConfig", "FusionStage"),
    "weights.row": ("Preprocessing", "WeightsRow"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = ("data", "losses", "metrics", "training", "upsampling", "visualize")

__all__ = [*_HOME_OF, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"ddrnet.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ddrnet' has no attribute {name!r}")
    value = getattr(import_module(f"ddrnet.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
