"""Fits a state dict to a model; only named tensors may be missing or left over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ddrnet.checkpoints.contents import Contents, describe
from ddrnet.errors import CheckpointError
from ddrnet.variants import CLASSIFIER, HEADS, VARIANTS, DDRNetConfig

logger = logging.getLogger(__name__)

_FIRST_CONVOLUTION = "stem.0.weight"
_CLASSIFIERS = tuple(
    f"{layer}.{parameter}"
    for layer in ("head.conv2", "aux_head.conv2", "classifier")
    for parameter in ("weight", "bias")
)
_RGB = 3


class Fit(NamedTuple):
    """A state dict that fits a model key for key.

    Attributes:
        state: Every key of the model, in its order; load it with `strict=True`.
        initialised: Keys whose tensors are still the model's own, wholly or in part.
        dropped: Keys of the file that the model does not use.
    """

    state: dict[str, Tensor]
    initialised: tuple[str, ...]
    dropped: tuple[str, ...]


def fit_state_dict(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Fit:
    """Fit a state dict to a model; neither is changed. The log lists the untrained tensors.

    These tensors may be missing: DAPPM and the heads if the file is a classifier or backbone, the
    auxiliary head, and the last layer of each head if the number of classes differs. Only the
    auxiliary head and the last layers of a classifier may be left over. timm's rule adapts a first
    convolution for RGB to the model's channels.

    Args:
        state: Tensors under this library's names, as `to_ddrnet` returns them.
        target: The model's `state_dict()`.

    Raises:
        CheckpointError: If the file has another size, or any other tensor is missing, left over,
            or differs in shape or type, or holds NaN or infinite values; the message names them
            all.
    """
    held, built = describe(state), describe(target)
    _check_size(held.config, built.config)
    unused = _unused(held, target)
    fitted = {key: tensor for key, tensor in state.items() if not key.startswith(unused)}
    if held.in_chans != built.in_chans and _FIRST_CONVOLUTION in fitted:
        fitted[_FIRST_CONVOLUTION] = _adapted(fitted[_FIRST_CONVOLUTION], built.in_chans)
    missing = HEADS if held.is_backbone else () if held.has_aux_head else ("aux_head.",)
    absent = [key for key in target if key.startswith(missing)]
    of_other_classes = _of_other_classes(fitted, target)
    fitted.update((key, target[key]) for key in (*absent, *of_other_classes))
    wrong = mismatch(fitted, target)
    if wrong:
        raise CheckpointError(f"the checkpoint does not fit the model: {wrong}")
    kept = {*absent, *of_other_classes}
    broken = [key for key in fitted if key not in kept and not _is_finite(fitted[key])]
    if broken:
        raise CheckpointError(
            f"{len(broken)} tensors of the checkpoint hold NaN or infinite values "
            f"({', '.join(broken)}): the training diverged, or the file is damaged"
        )
    _report(held, built, absent)
    if of_other_classes:
        logger.warning(
            "the checkpoint has %d classes, the model %d: its %s are kept; train them",
            len(state[of_other_classes[0]]),
            len(target[of_other_classes[0]]),
            ", ".join(of_other_classes),
        )
    return Fit(
        state={key: fitted[key] for key in target},
        initialised=(*absent, *of_other_classes),
        dropped=tuple(key for key in state if key not in fitted),
    )


def _unused(held: Contents, target: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the key prefixes that a file may have although the model lacks them."""
    optional = ("aux_head.", *CLASSIFIER) if held.is_backbone else ("aux_head.",)
    return tuple(prefix for prefix in optional if not any(key.startswith(prefix) for key in target))


def _check_size(held: DDRNetConfig | None, built: DDRNetConfig | None) -> None:
    if held is None or built is None or held == built:
        return
    name, wanted = _published_name(held), _published_name(built) or built
    if name:
        raise CheckpointError(
            f"the checkpoint is a {name}, the model is a {wanted}: build the model with "
            f"ddrnet.create_model({name!r}, ...)"
        )
    if held.width != built.width:
        raise CheckpointError(
            f"the checkpoint is a {held}, the model is a {wanted}: name the checkpoint's size with "
            "ddrnet.register_model and build that model"
        )


def _published_name(config: DDRNetConfig) -> str | None:
    return next((name for name, known in VARIANTS.items() if known == config), None)


def _adapted(weight: Tensor, in_chans: int | None) -> Tensor:
    """Return a first convolution that reads `in_chans` channels."""
    if weight.ndim != 4 or in_chans is None:
        return weight
    if weight.shape[1] != _RGB:
        raise CheckpointError(
            f"the checkpoint reads images with {weight.shape[1]} channels, the model reads "
            f"{in_chans}; only RGB weights can be adapted: build the model with "
            f"in_chans={weight.shape[1]}"
        )
    from timm.models import adapt_input_conv

    adapted: Tensor = adapt_input_conv(in_chans, weight)
    return adapted


def _of_other_classes(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Return the keys of last layers whose shapes differ only in the number of classes."""
    return [
        key
        for key in _CLASSIFIERS
        if key in state
        and key in target
        and state[key].shape != target[key].shape
        and state[key].shape[1:] == target[key].shape[1:]
    ]


def _report(held: Contents, built: Contents, absent: Sequence[str]) -> None:
    if held.in_chans != built.in_chans:
        logger.info(
            "adapted the first convolution from %d to %d channels", held.in_chans, built.in_chans
        )
    if absent:
        names = ", ".join(dict.fromkeys(key.partition(".")[0] for key in absent))
        logger.warning("the checkpoint has no %s: the model keeps its own; train them", names)


def mismatch(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], *, limit: int | None = None
) -> str:
    """Describe how a state dict differs from a model's; "" if it can be loaded strictly.

    Args:
        state: The tensors, in this library's names.
        target: The model's `state_dict()`, which may lie on the meta device.
        limit: The most keys to name per kind of difference; None names all.
    """
    shared = [key for key in target if key in state]
    complaints = {
        "missing": [key for key in target if key not in state],
        "left over": [f"{key} {_shape(state[key])}" for key in state if key not in target],
        "of another shape": [
            f"{key} is {_shape(state[key])}, expected {_shape(target[key])}"
            for key in shared
            if state[key].shape != target[key].shape
        ],
        "of another type": [
            f"{key} is {state[key].dtype}, expected {target[key].dtype}"
            for key in shared
            if target[key].is_floating_point() and not state[key].is_floating_point()
        ],
        "without values": [key for key in shared if state[key].is_meta and not target[key].is_meta],
    }
    return "; ".join(
        f"{len(keys)} {kind} ({', '.join(keys[:limit])}{', ...' if limit and keys[limit:] else ''})"
        for kind, keys in complaints.items()
        if keys
    )


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_meta or bool(tensor.isfinite().all())


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"
