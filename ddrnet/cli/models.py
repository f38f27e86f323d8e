"""The model of a command: `--model` and `--checkpoint`, never with untrained weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet import registry
from ddrnet.errors import CheckpointError, WeightsUnavailableError

if TYPE_CHECKING:
    from ddrnet.network import DDRNet
    from ddrnet.predictor.predictor import Predictor

DEFAULT_MODEL = "ddrnet_23_slim"
OFFLINE_MODEL = "ddrnet_23_nano.camvid"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--checkpoint`, which `trained_model` reads."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a name such as ddrnet_23 or ddrnet_23.cityscapes_mmseg, hf-hub:OWNER/REPO, the "
        "folder of a saved model, or where --backend is known an ONNX file of ddrnet export; "
        "weights are fetched (default: the model in --checkpoint, or else "
        f"{DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="a weights file to load instead, from the official code, mmsegmentation, "
        "super-gradients or this library; it sets size and classes",
    )


def add_backend_arguments(group: Any) -> None:
    """Add `--backend`, `--threads` and `--providers`, which `backend_options` reads."""
    group.add_argument(
        "--backend",
        choices=("torch", "onnxruntime", "openvino"),
        help="library that computes the network (default: onnxruntime for ONNX files, else torch)",
    )
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of onnxruntime or openvino (default: as torch chooses)",
    )
    group.add_argument(
        "--providers",
        nargs="+",
        metavar="NAME",
        help="execution providers of onnxruntime, or a device of openvino (default: the CPU)",
    )


def backend_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a `Predictor` that the backend's options give."""
    return {"backend": args.backend, "threads": args.threads, "providers": args.providers}


def runs_elsewhere(args: argparse.Namespace) -> bool:
    """Whether a library other than torch computes."""
    from ddrnet.predictor.backends import is_exported

    return (args.backend or "torch") != "torch" or is_exported(args.model)


def model_or_file(args: argparse.Namespace) -> DDRNet | str:
    """Return the trained model that is named, or the path of an exported file.

    Raises:
        ValueError: If both an exported file and a checkpoint are given.
        Exception: The errors of `trained_model`.
    """
    from ddrnet.predictor.backends import is_exported

    if not is_exported(args.model):
        return trained_model(args.model, args.checkpoint)
    if args.checkpoint is not None:
        raise ValueError(f"--checkpoint has no effect on {args.model}, which holds its weights")
    return str(args.model)


def weights_of(model: DDRNet | Predictor) -> str:
    """Return the name of the weights in an exported file; "" for all other models."""
    from ddrnet.predictor.exported.file_engine import FileEngine

    engine = getattr(model, "engine", None)
    return engine.file.description.weights if isinstance(engine, FileEngine) else ""


def trained_model(name: str | None, checkpoint: str | None) -> DDRNet:
    """Return the model that `--model` and `--checkpoint` name, with all of its weights trained.

    Raises:
        WeightsUnavailableError: If there are no such weights, or they are only a start for
            training.
        CheckpointError: If the checkpoint cannot be read, does not fit, or leaves parts of the
            model untrained.
        UnknownModelError: If there is no model with that name.
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
                "trained to segment, with its --model or without --model"
            )
        return model
    name = _model_name(name) or DEFAULT_MODEL
    if registry.is_model(name):
        _refuse_untrained(name)
    try:
        return create_and_fit(name, True, PartialSpec()).model
    except WeightsUnavailableError as error:
        raise WeightsUnavailableError(
            f"{error} (on the command line: --checkpoint FILE). {OFFLINE_MODEL}, with CamVid's 11 "
            f"classes, ships with ddrnet and needs no network: --model {OFFLINE_MODEL}"
        ) from error


def _model_name(name: str | None) -> str | None:
    """Return the model name; an existing folder becomes "local-dir:FOLDER"."""
    if name and not registry.is_model(name) and Path(name).expanduser().is_dir():
        return f"local-dir:{name}"
    return name


def caveat_of(name: str | None, checkpoint: str | None) -> str:
    """Return the warning that files made with these weights carry, or ""; the log shows it too."""
    name = name or DEFAULT_MODEL
    return registry.get_weights(name).caveat if not checkpoint and registry.is_model(name) else ""


def _refuse_untrained(name: str) -> None:
    rows = [registry.get_weights(row) for row in registry.list_models(name, pretrained=True)]
    if not rows:
        raise WeightsUnavailableError(f"{name} has no pretrained weights: pass --checkpoint FILE")
    row = registry.get_weights(name)
    if row.task != "segmentation":
        raise WeightsUnavailableError(
            f"{row.name} is a start for training: its segmentation heads are untrained; pass "
            f"--model {row.model}, or --checkpoint FILE with weights that were trained to segment"
        )
