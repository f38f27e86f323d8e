"""What the settings of a run name: data set, model and loss."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from recipes import CITYSCAPES_WEIGHTS, Settings
from torch import nn

import ddrnet
from ddrnet.data import SegmentationDataset

_log = logging.getLogger("train")


def open_dataset(settings: Settings, training: bool) -> SegmentationDataset:
    """Return the images to train on, augmented, or those to validate on, whole."""
    split = settings.train_split if training else settings.val_split
    transforms = None
    if training:
        transforms = ddrnet.data.train_transform(
            settings.crop_size,
            scale=settings.scale,
            flip=settings.flip,
            max_class_share=settings.max_class_share,
            color_jitter=settings.color_jitter,
        )
    common = {"transforms": transforms, "label_dtype": torch.uint8}
    if settings.data == "synthetic":
        count = settings.synthetic_images if training else max(settings.synthetic_images // 4, 1)
        seed = 2 * settings.seed + (not training)
        return ddrnet.data.SyntheticStreets(count, settings.synthetic_size, seed=seed, **common)
    if settings.data_path is None:
        raise ValueError(f"--data {settings.data} needs --data-path (or try --data synthetic)")
    root, common = Path(settings.data_path), common | {"seed": settings.seed}
    common["cache_dir"] = settings.cache_dir
    if settings.data == "folder":
        names = (root / "classes.txt").read_text().splitlines()
        folders = root / "images" / split, root / "labels" / split
        return ddrnet.data.SegmentationFolder(*folders, names, **common)
    kind = {"cityscapes": ddrnet.data.Cityscapes, "camvid": ddrnet.data.CamVid}[settings.data]
    return kind(root, split, **common)


def build_model(settings: Settings, init: str, dataset: SegmentationDataset) -> ddrnet.DDRNet:
    """Return the model, initialised as `init` says."""
    name, tagged = settings.model, f"{settings.model}.in1k"
    if init == "auto":
        init = "in1k" if tagged in ddrnet.list_models(tagged, pretrained=True) else "none"
        _log.info("starts from %s", tagged if init == "in1k" else "random weights")
    path = init if Path(init).is_file() else None
    pretrained = init != "none" and path is None
    model = ddrnet.create_model(
        f"{name}.{init}" if pretrained else name,
        pretrained,
        class_names=dataset.classes,
        aux_head=settings.aux_weight > 0,
        upsample=False,  # the loss upsamples by itself, in strips
        checkpoint_path=path,
    )
    model.pretrained = None  # from the first step on these are other weights
    return model


def synchronise_batch_norm(network: ddrnet.DDRNet, device: torch.device) -> ddrnet.DDRNet:
    """Share BatchNorm's statistics among GPUs; on other devices say that it stays apart."""
    if device.type == "cuda":
        converted: ddrnet.DDRNet = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    _log.warning("SyncBN needs GPUs: each process keeps its own BatchNorm statistics")
    return network


def build_criterion(settings: Settings, dataset: SegmentationDataset) -> nn.Module:
    """Return the loss on the model's output."""
    criterion: nn.Module
    weights: Any = None
    if settings.class_weights == "cityscapes":
        weights = CITYSCAPES_WEIGHTS if len(dataset.classes) == 19 else None
    elif settings.class_weights != "none":
        weights = ddrnet.losses.class_weights_from(dataset, method=settings.class_weights)
    criterion = ddrnet.losses.CrossEntropyLoss(class_weights=weights)
    if settings.loss == "ohem":
        kept = {"min_kept": settings.min_kept}
        if settings.min_kept_fraction is not None:
            kept = {"min_kept_fraction": settings.min_kept_fraction}
        criterion = ddrnet.losses.OhemCrossEntropyLoss(
            settings.ohem_threshold, class_weights=weights, **kept
        )
    if settings.aux_weight > 0:
        return ddrnet.losses.AuxiliaryLoss(criterion, settings.aux_weight)
    return criterion
