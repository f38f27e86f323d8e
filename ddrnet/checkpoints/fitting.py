"""Whether a state dict fits a model, and what may be missing or left over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ddrnet.checkpoints.contents import HEADS, describe
from ddrnet.errors import CheckpointError
from ddrnet.variants import VARIANTS, DDRNetConfig

logger = logging.getLogger("ddrnet")

_FIRST_CONVOLUTION = "stem.0.weight"
_CLASSIFIERS = tuple(
    f"{head}.conv2.{parameter}" for head in ("head", "aux_head") for parameter in ("weight", "bias")
)
_RGB = 3


class Fit(NamedTuple):
    """A state dict that fits a model key for key.

    Attributes:
        state: Every key of the model, in its order; load it with `strict=True`.
        initialised: Keys whose tensors are still the model's own.
        dropped: Keys of the file that the model has no use for.
    """

    state: dict[str, Tensor]
    initialised: tuple[str, ...]
    dropped: tuple[str, ...]


def fit_state_dict(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Fit:
    """Fit a state dict to a model. Changes neither; the log says what stays as initialised.

    May be missing: DAPPM and the heads of a classifier or backbone, the auxiliary head, and the
    last convolution of each head where the number of classes differs. May be left over: the
    auxiliary head. A first convolution over RGB is adapted to the model's channels by timm's rule.

    Args:
        state: Tensors in this library's names, as `to_ddrnet` returns them.
        target: The model's `state_dict()`.

    Raises:
        CheckpointError: If it is of another size, or anything else is missing, left over or of
            another shape; all of it is named.
    """
    _check_size(state, target)
    dropped = _unused(state, target)
    kept = {key: tensor for key, tensor in state.items() if key not in dropped}
    _adapt_channels(kept, target)
    initialised = {*_without_heads(kept, target), *_of_other_classes(kept, target)}
    kept.update((key, target[key]) for key in initialised)
    _check_keys(kept, target)
    return Fit(
        {key: kept[key] for key in target},
        tuple(key for key in target if key in initialised),
        tuple(dropped),
    )


def _check_size(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    held, built = describe(state).config, describe(target).config
    if held is None or built is None or held == built:
        return
    name = _published_name(held)
    if name:
        raise CheckpointError(
            f"the checkpoint is a {name}, the model is a {_published_name(built) or built}: build "
            f"the model with ddrnet.create_model({name!r}, ...)"
        )
    if held.width != built.width:
        raise CheckpointError(
            f"the checkpoint is a {held}, the model is a {_published_name(built) or built}: build "
            "the model of that size, which ddrnet.register_model gives a name"
        )


def _published_name(config: DDRNetConfig) -> str | None:
    return next((name for name, known in VARIANTS.items() if known == config), None)


def _unused(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    if describe(target).has_aux_head:
        return []
    return [key for key in state if key.startswith("aux_head.")]


def _adapt_channels(state: dict[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Replace the first convolution by one that reads the model's channels."""
    held, wanted = describe(state).in_chans, describe(target).in_chans
    if held is None or wanted is None or held == wanted:
        return
    if held != _RGB:
        raise CheckpointError(
            f"the checkpoint reads images of {held} channels, the model of {wanted}; only RGB "
            f"weights can be adapted: build the model with in_chans={held}"
        )
    from timm.models import adapt_input_conv

    state[_FIRST_CONVOLUTION] = adapt_input_conv(wanted, state[_FIRST_CONVOLUTION])
    logger.info("adapted the first convolution from %d to %d channels", held, wanted)


def _without_heads(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Return what a backbone, or a file without auxiliary head, leaves as it is."""
    contents = describe(state)
    absent = HEADS if contents.is_backbone else () if contents.has_aux_head else ("aux_head.",)
    keys = [key for key in target if key.startswith(absent)]
    if keys:
        names = ", ".join(dict.fromkeys(key.partition(".")[0] for key in keys))
        logger.warning("the checkpoint has no %s: still as initialised, to be trained", names)
    return keys


def _of_other_classes(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Return the last convolutions whose shapes differ in the number of classes alone."""
    keys = [
        key
        for key in _CLASSIFIERS
        if key in state
        and key in target
        and state[key].shape != target[key].shape
        and state[key].shape[1:] == target[key].shape[1:]
    ]
    if keys:
        logger.warning(
            "the checkpoint has %d classes, the model %d: %s still as initialised, to be trained",
            len(state[keys[0]]),
            len(target[keys[0]]),
            ", ".join(keys),
        )
    return keys


def _check_keys(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    complaints = {
        "missing": [key for key in target if key not in state],
        "left over": [f"{key} {_shape(state[key])}" for key in state if key not in target],
        "of another shape": [
            f"{key} is {_shape(state[key])}, expected {_shape(target[key])}"
            for key in target
            if key in state and state[key].shape != target[key].shape
        ],
    }
    if any(complaints.values()):
        parts = [
            f"{len(keys)} {kind} ({', '.join(keys)})" for kind, keys in complaints.items() if keys
        ]
        raise CheckpointError(f"the checkpoint does not fit the model: {'; '.join(parts)}")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"
