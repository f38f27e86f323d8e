"""The model that a command works with: `--model`, `--checkpoint`, and never untrained weights."""

from __future__ import annotations

import argparse
from pathlib import Path
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
        help="such as ddrnet_23, ddrnet_23.cityscapes_mmseg, hf-hub:OWNER/REPO or the folder of a "
        f"saved model; its weights are fetched (default: {DEFAULT_MODEL}, or what --checkpoint "
        "holds)",
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
        CheckpointError: If the checkpoint cannot be read, does not fit, or leaves parts of the
            model untrained.
        UnknownModelError: If there is no model of that name.
    """
    from ddrnet.factory import create_and_fit
    from ddrnet.spec import PartialSpec

    if checkpoint is not None:
        model, fit = create_and_fit(
            _model_name(name), False, PartialSpec(), checkpoint_path=checkpoint
        )
        if fit is not None and fit.initialised:
            parts = sorted({key.partition(".")[0] for key in fit.initialised})
            raise CheckpointError(
                f"{checkpoint} leaves {', '.join(parts)} untrained: pass a checkpoint that was "
                "trained to segment, with the --model that belongs to it or none"
            )
        return model
    name = _model_name(name) or DEFAULT_MODEL
    if registry.is_model(name):
        _refuse_untrained(name)
    try:
        return create_and_fit(name, True, PartialSpec()).model
    except WeightsUnavailableError as error:
        raise WeightsUnavailableError(
            f"{error} (on the command line: --checkpoint FILE). {OFFLINE_MODEL}, of CamVid's 11 "
            f"classes, ships with ddrnet and needs no network: --model {OFFLINE_MODEL}"
        ) from error


def _model_name(name: str | None) -> str | None:
    """Return the name of a model; an existing folder is one too."""
    if name and not registry.is_model(name) and Path(name).expanduser().is_dir():
        return f"local-dir:{name}"
    return name


def caveat_of(name: str | None, checkpoint: str | None) -> str:
    """Return what files made with these weights have to say, or ""; the log has said it."""
    name = name or DEFAULT_MODEL
    return registry.get_weights(name).caveat if not checkpoint and registry.is_model(name) else ""


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
