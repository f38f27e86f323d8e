"""Tensors in safetensors files, and those that a model needs."""

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


def serialize(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the bytes of a safetensors file, always the same for the same tensors."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    return save(tensors, metadata={"format": "pt"})


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the weights of convolutions in half precision, as files ship.

    BatchNorm and biases keep their precision: they are few, and running variances may exceed what
    half precision can hold.
    """
    return {key: tensor.half() if tensor.ndim == 4 else tensor for key, tensor in state.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, and nothing that a pickle could hide in.

    Raises:
        CheckpointError: If it is damaged or something else.
    """
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def expected_tensors(spec: ModelSpec) -> dict[str, Tensor]:
    """Return the tensors that a model of this spec has, without values."""
    with torch.device("meta"):
        network = DDRNet(spec.config, spec.num_classes or 1, spec.in_chans, aux_head=spec.aux_head)
    return network.state_dict()
