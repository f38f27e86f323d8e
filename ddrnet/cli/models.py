"""The model that a command works with: `--model`, `--checkpoint`, and never untrained weights."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ddrnet import registry
from ddrnet.errors import CheckpointError, WeightsUnavailableError

if TYPE_CHECKING:
    from ddrnet.network import DDRNet

DEFAULT_MODEL = "ddrnet_23_slim"
OFFLINE_MODEL = "ddrnet_23_nano.camvid"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--checkpoint`, which `trained_model` reads."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="such as ddrnet_23, ddrnet_23.cityscapes_mmseg, hf-hub:OWNER/REPO or local-dir:PATH; "
        f"its weights are fetched (default: {DEFAULT_MODEL}, or what --checkpoint holds)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights to load instead: the official code's, mmsegmentation's, super-gradients' or "
        "this library's; size and classes are those of the file",
    )


def trained_model(name: str | None, checkpoint: str | None) -> DDRNet:
    """Return the model that `--model` and `--checkpoint` name, all of it trained.

    Raises:
        WeightsUnavailableError: If there are no such weights, or they only initialise a training.
        CheckpointError: If the checkpoint cannot be read, does not fit, or has no trained heads.
        UnknownModelError: If there is no model of that name.
    """
    from ddrnet.factory import create_model

    if checkpoint is not None:
        return _model_of_checkpoint(name, checkpoint)
    name = name or DEFAULT_MODEL
    if registry.is_model(name):
        _refuse_untrained(name)
    try:
        return create_model(name, pretrained=True)
    except WeightsUnavailableError as error:
        raise WeightsUnavailableError(
            f"{error} (on the command line: --checkpoint FILE). {OFFLINE_MODEL}, of CamVid's 11 "
            f"classes, ships with ddrnet and needs no network: --model {OFFLINE_MODEL}"
        ) from error


def caveat_of(name: str | None, checkpoint: str | None) -> str:
    """Return what files made with these weights have to say, or ""; the log has said it."""
    name = name or DEFAULT_MODEL
    return registry.get_weights(name).caveat if not checkpoint and registry.is_model(name) else ""


def _model_of_checkpoint(name: str | None, path: str) -> DDRNet:
    from ddrnet.checkpoints import describe, read_state_dict, to_ddrnet
    from ddrnet.factory import create_model

    held = describe(to_ddrnet(read_state_dict(path)))
    if held.is_backbone:
        raise CheckpointError(
            f"{path} holds a classifier or backbone: the segmentation heads would be untrained; "
            "pass a checkpoint that was trained to segment"
        )
    found = name or (registry.find_model(held.config) if held.config else None)
    if found is None:
        raise CheckpointError(
            f"{path} is of no known size ({held.config or 'tensors that tell it are missing'}); "
            f"known are {', '.join(registry.list_models())}: with --model NAME the error names "
            "every tensor that does not fit"
        )
    model = create_model(found, checkpoint_path=path)
    if model.num_classes != held.num_classes:
        raise CheckpointError(
            f"{path} has {held.num_classes} classes, {name} has {model.num_classes}: leave out "
            "--model, or pass the checkpoint that belongs to it"
        )
    return model


def _refuse_untrained(name: str) -> None:
    rows = [registry.get_weights(row) for row in registry.list_models(name, pretrained=True)]
    if not rows:
        raise WeightsUnavailableError(f"{name} has no pretrained weights: pass --checkpoint FILE")
    row = registry.get_weights(name)
    if row.task != "segmentation":
        raise WeightsUnavailableError(
            f"{row.name} initialises a training: its segmentation heads are untrained; pass "
            f"--model {row.model}, or --checkpoint FILE with weights that were trained to segment"
        )
