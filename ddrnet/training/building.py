"""Builds the parts of a run from its settings: data, network, optimizer, schedule, loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import accelerate
import torch
from timm.optim import Muon, create_optimizer_v2
from timm.scheduler import PolyLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from ddrnet import data, losses, registry
from ddrnet.data import SegmentationDataset
from ddrnet.data.dataset import Transforms
from ddrnet.errors import WeightsUnavailableError
from ddrnet.factory import create_model
from ddrnet.labels import ClassLabel
from ddrnet.network import DDRNet, freeze_batch_norm
from ddrnet.training.defaults import on_cpu
from ddrnet.training.muon import BatchedMuon
from ddrnet.training.recipes import CITYSCAPES_WEIGHTS
from ddrnet.training.settings import Settings

logger = logging.getLogger(__name__)


def build_accelerator(settings: Settings) -> accelerate.Accelerator:
    """Join the other processes, if there are any, and choose the device."""
    return accelerate.Accelerator(
        cpu=on_cpu(settings),
        mixed_precision=settings.precision,
        gradient_accumulation_steps=settings.accumulation,
        step_scheduler_with_optimizer=False,
    )


def augmentation(settings: Settings) -> Transforms:
    """Return the random transform of training images and their labels."""
    assert settings.crop_size is not None, "`fitted` has chosen"
    transforms: Transforms = data.train_transform(
        settings.crop_size,
        scale=settings.scale,
        flip=settings.flip,
        max_class_share=settings.max_class_share,
        color_jitter=settings.color_jitter,
    )
    return transforms


def open_dataset(settings: Settings, training: bool) -> SegmentationDataset:
    """Return the data set to train on, or the one to validate on, without transforms."""
    if settings.data == "synthetic":
        count = settings.synthetic_images if training else max(settings.synthetic_images // 4, 1)
        seed = 2 * settings.seed + (not training)
        size = settings.synthetic_size
        return data.SyntheticStreets(count, size, seed=seed, label_dtype=torch.uint8)
    if settings.data_path is None:
        raise ValueError("pass --data-path ROOT, or --data synthetic to try rendered streets")
    return data.open_dataset(
        settings.data_path,
        None if settings.data == "auto" else settings.data,
        settings.train_split if training else settings.val_split,
        val_fraction=settings.val_fraction,
        label_dtype=torch.uint8,
        cache_dir=settings.cache_dir,
        seed=settings.seed,
    )


def build_network(
    settings: Settings,
    init: str,
    classes: Sequence[ClassLabel],
    accelerator: accelerate.Accelerator,
) -> DDRNet:
    """Return the network to train, with the initial weights that `init` names."""
    network = _initialised(settings, init, classes)
    # A resumed run names its origin too, though it starts from its own checkpoint.
    start = f"{settings.model}.{_resolved(settings.init, _tags(settings.model))}"
    network.pretrained = registry.get_weights(start) if registry.is_model(start) else None
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        network = convert(network)
    elif accelerator.num_processes > 1:
        logger.warning("SyncBN needs GPUs: each process normalises by its own batches")
    if settings.freeze_bn:
        freeze_batch_norm(network)
    return network


def _initialised(settings: Settings, init: str, classes: Sequence[ClassLabel]) -> DDRNet:
    name, tags, checkpoint = settings.model, _tags(settings.model), None
    if init == "auto" and "in1k" not in tags:
        logger.info("%s has no ImageNet weights: starting from random weights", name)
    init = _resolved(init, tags)
    if init in tags:
        name = f"{name}.{init}"
    elif init != "none":
        checkpoint = _checkpoint(init, tags)
    if init != "none":
        logger.info("starting from %s", checkpoint or name)
    try:
        network = create_model(
            name,
            pretrained=init in tags,
            class_names=classes,
            aux_head=settings.aux_weight > 0,
            upsample=False,  # the loss upsamples by itself, in strips
            checkpoint_path=checkpoint,
        )
    except WeightsUnavailableError as error:
        raise WeightsUnavailableError(
            f"{error} (here: --init FILE, or --init none to start from random weights)"
        ) from error
    return network


def _resolved(init: str, tags: Sequence[str]) -> str:
    """Return the initial weights, with `auto` decided."""
    return ("in1k" if "in1k" in tags else "none") if init == "auto" else init


def _tags(model: str) -> list[str]:
    """Return the tags of a model's weights.

    Raises:
        UnknownModelError: If there is no such model.
        ValueError: If the name has a tag itself.
    """
    size, tag = registry.split_name(model)
    if tag is not None:
        raise ValueError(f"--model {model}: pass --model {size}, and --init {tag} to start from it")
    return [name.partition(".")[2] for name in registry.list_models(model, pretrained=True)]


def _checkpoint(init: str, tags: Sequence[str]) -> Path:
    path = Path(init)
    if not path.exists():
        known = ", ".join(["none", "auto", *tags])
        raise ValueError(
            f"--init {init}: no such file, nor weights of that name; expected {known} or the path "
            "of a checkpoint"
        )
    if not path.is_dir():
        return path
    weights = path / "model.safetensors"
    if not weights.exists():
        raise ValueError(
            f"--init {init}: the folder holds no model.safetensors; to start from a run, pass its "
            "best or last folder, or one of its checkpoints"
        )
    return weights


def build_optimizer(settings: Settings, network: DDRNet) -> Optimizer:
    """Return the optimizer of the network's parameter groups."""
    groups = network.parameter_groups(
        settings.lr,
        head_factor=settings.head_factor,
        weight_decay=settings.weight_decay,
        decay_norm_and_bias=settings.decay_norm_and_bias,
    )
    optimizer = create_optimizer_v2(
        groups, settings.optimizer, settings.lr, momentum=settings.momentum
    )
    if type(optimizer) is Muon:
        return BatchedMuon(optimizer.param_groups, **optimizer.defaults)
    return optimizer


def build_schedule(settings: Settings, optimizer: Optimizer, total_steps: int) -> PolyLRScheduler:
    """Return the schedule of the learning rates, a function of the step alone.

    Raises:
        ValueError: If the warm-up takes every epoch.
    """
    if settings.warmup_epochs >= settings.epochs:
        raise ValueError(
            f"--warmup-epochs {settings.warmup_epochs} must be less than --epochs "
            f"{settings.epochs}: the learning rate falls after the warm-up"
        )
    return PolyLRScheduler(
        optimizer,
        total_steps,
        power=settings.power,
        warmup_t=settings.warmup_epochs * total_steps // settings.epochs,
        t_in_epochs=False,
    )


def build_criterion(settings: Settings, dataset: SegmentationDataset) -> nn.Module:
    """Return the loss of the network's output: (N, K, h, w) logits against (N, H, W) labels."""
    weights: Tensor | None = None
    if settings.class_weights == "cityscapes":
        weights = torch.tensor(CITYSCAPES_WEIGHTS)
    elif settings.class_weights != "none":
        assert settings.class_weights != "auto", "`fitted` has chosen"
        weights = losses.class_weights_from(dataset, method=settings.class_weights)
    criterion: nn.Module = losses.CrossEntropyLoss(class_weights=weights)
    if settings.loss == "ohem":
        criterion = losses.OhemCrossEntropyLoss(
            settings.ohem_threshold,
            settings.min_kept,
            min_kept_fraction=settings.min_kept_fraction,
            class_weights=weights,
        )
    if settings.aux_weight > 0:
        return losses.AuxiliaryLoss(criterion, settings.aux_weight)
    return criterion
