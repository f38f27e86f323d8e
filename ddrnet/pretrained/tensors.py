"""Tensors in safetensors files, and the tensors that a model needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.spec import ModelSpec
from ddrnet.variants import HEADS


def serialize(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the content of a safetensors file; equal tensors give equal bytes."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    return save(tensors, metadata={"format": "pt"})


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; every other format, pickles included, is refused.

    Raises:
        CheckpointError: If the file is damaged or has another format.
    """
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def expected_tensors(spec: ModelSpec) -> dict[str, Tensor]:
    """Return the tensors of a model with this spec, on the meta device: without values."""
    with torch.device("meta"):
        if spec.task == "classification":
            from ddrnet.classifier import DDRNetClassifier

            return DDRNetClassifier(spec.config, in_chans=spec.in_chans).state_dict()
        network = DDRNet(spec.config, spec.num_classes or 1, spec.in_chans, aux_head=spec.aux_head)
    unused = HEADS if spec.task == "backbone" else ()
    state = network.state_dict()
    return {key: tensor for key, tensor in state.items() if not key.startswith(unused)}
