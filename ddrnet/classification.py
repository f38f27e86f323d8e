"""ImageNet classifiers and feature extractors for timm: importing this module registers them.

Afterwards `timm.create_model("ddrnet_23_slim", pretrained=True)` and everything built on it works.
timm offers no entry points, so it cannot find the models without this import.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    is_model,
    model_entrypoint,
    register_model,
)
from torch import nn

from ddrnet.classifier import DDRNetClassifier
from ddrnet.errors import UnknownModelError, WeightsUnavailableError
from ddrnet.files import StrPath
from ddrnet.pretrained.fetch import fetch_weights
from ddrnet.registry import get_weights
from ddrnet.variants import VARIANTS
from ddrnet.weights import rows_of
from ddrnet.weights.row import WebFile, WeightsRow

__all__ = ["DDRNetClassifier"]  # timm adds the models

logger = logging.getLogger(__name__)

_COMMON: dict[str, Any] = {
    "custom_load": True,  # timm hands files to DDRNetClassifier.load_pretrained
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "first_conv": "stem.0",
    "classifier": "classifier",
    "paper_ids": "arXiv:2101.06085",
}


def _configurations() -> dict[str, dict[str, Any]]:
    """Describe the ImageNet classifiers of the weights table, and models without one, for timm."""
    found: dict[str, dict[str, Any]] = {}
    for model in VARIANTS:
        rows = [row for row in rows_of(model) if row.task == "classification"]
        found |= {row.name: _configuration(row) for row in rows}
        if not rows:
            found[model] = _COMMON | {"architecture": model}
    return found


def _configuration(row: WeightsRow) -> dict[str, Any]:
    return _COMMON | {
        "architecture": row.model,
        "tag": row.tag,
        "url": next(file.address for file in row.sources if isinstance(file, WebFile)),
        "interpolation": "bicubic" if row.tag == "in1k_timm" else "bilinear",
        "mean": row.preprocessing.mean,
        "std": row.preprocessing.std,
        "license": row.license,
        "origin_url": row.origin,
        "notes": row.unverified,
    }


default_cfgs = generate_default_cfgs({**_configurations()})
"""Model -> its weights as timm describes them, by tag. The models without weights have one too."""


def _create(
    model: str,
    pretrained: bool,
    *,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: StrPath | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model the way timm does, but fetch registered weights through this library.

    Args:
        model: The name of the size.
        pretrained: Whether to load weights.
        pretrained_cfg: A tag, or a description of weights from elsewhere.
        pretrained_cfg_overlay: Replaces single fields of that description; a source of weights
            among them replaces the registered one.
        cache_dir: Folder for downloads.
        options: Arguments of `DDRNetClassifier`, and timm's `features_only` and `out_indices`.

    Raises:
        UnknownModelError: If there is no such tag.
        WeightsUnavailableError: If there are no weights, or they cannot be fetched.
        CheckpointError: If the weights do not fit.
    """
    known = default_cfgs[model]
    if pretrained_cfg is None or isinstance(pretrained_cfg, str):
        tag = pretrained_cfg or known.tags[0]
        if tag not in known.cfgs:
            raise UnknownModelError(
                f"unknown ImageNet weights {tag!r} of {model}; known are "
                f"{', '.join(filter(None, known.tags)) or 'none'}"
            )
        pretrained_cfg = known.cfgs[tag]
    overlay = {"custom_load": True, **(pretrained_cfg_overlay or {})}
    if pretrained:
        given = pretrained_cfg if isinstance(pretrained_cfg, Mapping) else vars(pretrained_cfg)
        overlay |= _fetch(model, {**given, **overlay}, cache_dir)
    return build_model_with_cfg(
        DDRNetClassifier,
        model,
        pretrained,
        pretrained_cfg=pretrained_cfg,
        pretrained_cfg_overlay=overlay,
        feature_cfg={"out_indices": (0, 1, 2, 3, 4), "feature_cls": "getter"},
        cache_dir=None if cache_dir is None else Path(cache_dir),
        config=VARIANTS[model],
        **options,
    )


def _fetch(model: str, description: Mapping[str, Any], cache_dir: StrPath | None) -> dict[str, str]:
    """Return the file to load if registered weights are described, else nothing."""
    if any(description.get(source) for source in ("file", "state_dict", "hf_hub_id")):
        return {}
    if not description.get("url"):
        raise WeightsUnavailableError(
            f"there are no ImageNet weights of {model}; a file of your own loads with "
            "pretrained_cfg_overlay=dict(file=...)"
        )
    for tag, known in default_cfgs[model].cfgs.items():
        if known.url == description["url"]:
            return {"file": str(fetch_weights(get_weights(f"{model}.{tag}"), cache_dir))}
    return {}


def _register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Register a model with timm unless the name is taken."""
    if not is_model(build.__name__):
        return register_model(build)
    if model_entrypoint(build.__name__).__module__ != __name__:
        logger.warning("timm already has a model %s, which stays", build.__name__)
    return build


@_register
def ddrnet_23_nano(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build DDRNet-23-nano, which has no ImageNet weights; see `_create`."""
    return _create("ddrnet_23_nano", pretrained, **options)


@_register
def ddrnet_23_slim(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build DDRNet-23-slim: tags in1k and in1k_timm; see `_create`."""
    return _create("ddrnet_23_slim", pretrained, **options)


@_register
def ddrnet_23(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build DDRNet-23: tag in1k; see `_create`."""
    return _create("ddrnet_23", pretrained, **options)


@_register
def ddrnet_39(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build DDRNet-39: tag in1k; see `_create`."""
    return _create("ddrnet_39", pretrained, **options)
