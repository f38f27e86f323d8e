"""From whatever a training script saved to the tensors of the network by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeGuard

import torch
from torch import Tensor

from ddrnet.checkpoints.pickles import StandIn
from ddrnet.errors import CheckpointError

WRAPPERS = (
    "ema_net",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "ema",
    "net",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "network",
    "weights",
)
"""Entries of training dictionaries that hold the network, averaged weights first.

mmengine's `ema_state_dict` is not among them: beside it, `state_dict` is the averaged one.
"""

_DEPTH = 4  # dictionaries in dictionaries; a pickle may hold one that contains itself
_PREFIXES = re.compile(r"^(?:(?:module|model|net|network)\.)+")
_INSERTED = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch puts before the names of any compiled, sharded or recomputed part of a network."""

_NOT_THE_NETWORK = re.compile(r"\w*(?:loss|criterion)\w*\.|n_averaged$", re.IGNORECASE)


def unwrap(content: object) -> dict[str, Tensor]:
    """Return the network's tensors, named without the prefixes of what held the network.

    Args:
        content: A state dict, or a training dictionary around one.

    Raises:
        CheckpointError: If there are none, or two of the same name.
    """
    network = _find_network(content, _DEPTH)
    state: dict[str, Tensor] = {}
    for key, value in network.items() if network else ():
        if not isinstance(key, str) or not _is_dense(value):
            continue
        name = _PREFIXES.sub("", _INSERTED.sub("", key))
        if _NOT_THE_NETWORK.match(name):
            continue
        if name in state:
            raise CheckpointError(f"the checkpoint holds {name} twice, under different prefixes")
        state[name] = _own(value)
    if not state:
        raise CheckpointError(_describe_other(content))
    return state


def _find_network(content: object, depth: int) -> Mapping[object, object] | None:
    if not isinstance(content, Mapping) or depth == 0:
        return None
    for name in WRAPPERS:
        inner = _find_network(content.get(name), depth - 1)
        if inner is not None:
            return inner
    return content if any(map(_is_dense, content.values())) else None


def _is_dense(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _own(tensor: Tensor) -> Tensor:
    """Return a plain tensor that does not keep a larger storage alive."""
    tensor = tensor.detach()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _describe_other(content: object) -> str:
    """Say what a checkpoint without tensors holds, and what to do."""
    inside = [content.get(name) for name in WRAPPERS] if isinstance(content, Mapping) else [content]
    for value in inside:
        if isinstance(value, StandIn):
            return (
                f"the checkpoint holds a pickled {type(value).__name__}, not its tensors: load it "
                "where it was made and save its state_dict()"
            )
    if not isinstance(content, Mapping):
        return f"the checkpoint holds no tensors by name but a {type(content).__name__}"
    entries = ", ".join(f"{key} ({type(value).__name__})" for key, value in content.items())
    return (
        f"the checkpoint holds no tensors, neither directly nor in {', '.join(WRAPPERS)}; its "
        f"entries: {entries or 'none'}"
    )
