"""Tensors in safetensors files, and whether they are those of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ddrnet.errors import CheckpointError
from ddrnet.network import DDRNet
from ddrnet.variants import DDRNetConfig

_NAMED = 8  # differences that an error lists


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


def differences(
    state: Mapping[str, Tensor],
    config: DDRNetConfig,
    *,
    num_classes: int,
    in_chans: int,
    aux_head: bool,
) -> list[str]:
    """Name every tensor that is missing, left over or of another shape than a network's.

    Args:
        state: Tensors in this library's names.
        config: The size of the network.
        num_classes: Channels of its logits.
        in_chans: Channels of its images.
        aux_head: Whether it has an auxiliary head.
    """
    with torch.device("meta"):
        network = DDRNet(config, num_classes, in_chans, aux_head=aux_head)
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    got = {key: tuple(tensor.shape) for key, tensor in state.items()}
    return [
        f"{key} is {got.get(key, 'missing')}, expected {expected.get(key, 'nothing')}"
        for key in sorted(expected.keys() | got)
        if got.get(key) != expected.get(key)
    ]


def listed(wrong: Sequence[str]) -> str:
    """Return differences as one line: the first of them, and how many more there are."""
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return f"{'; '.join(wrong[:_NAMED])}{more}"
