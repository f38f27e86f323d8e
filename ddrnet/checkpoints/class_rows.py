"""Rows of the heads' last layers, one per class, chosen by the names of the classes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_LAST_LAYERS = tuple(
    f"{head}.conv2.{parameter}" for head in ("head", "aux_head") for parameter in ("weight", "bias")
)


class ClassRows(NamedTuple):
    """A state dict whose heads tell other classes apart than the checkpoint's did.

    Attributes:
        state: The checkpoint's tensors; the last layers have one row per wanted class.
        untrained: Keys of last layers in which some rows are still the model's own.
    """

    state: dict[str, Tensor]
    untrained: tuple[str, ...]


def choose_class_rows(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    known: Sequence[str],
    wanted: Sequence[str],
) -> ClassRows:
    """Choose the rows of the heads' last layers by class name; the log tells which are kept.

    Args:
        state: The checkpoint's tensors, under this library's names.
        target: The model's `state_dict()`, which provides the rows of unknown classes.
        known: Names of the checkpoint's classes, in the order of its rows.
        wanted: Names of the model's classes, in the order of its rows.

    Returns:
        New last layers; those whose shapes fit neither the names nor the model stay as they are.
    """
    rows = match_names(known, wanted)
    layers = [
        key
        for key in _LAST_LAYERS
        if key in state
        and key in target
        and state[key].shape == (len(known), *target[key].shape[1:])
    ]
    if not layers or rows == list(range(len(known))):
        return ClassRows(dict(state), ())
    chosen = {key: _choose(state[key], target[key], rows) for key in layers}
    new = [name for name, row in zip(wanted, rows, strict=True) if row is None]
    kept = [name for name, row in zip(wanted, rows, strict=True) if row is not None]
    heads = " and ".join(dict.fromkeys(key.partition(".")[0] for key in layers))
    if kept:
        logger.info("%s: kept the rows of the classes %s", heads, ", ".join(kept))
    if new:
        logger.warning(
            "%s: the weights do not know the classes %s; train their rows", heads, ", ".join(new)
        )
    return ClassRows({**state, **chosen}, tuple(layers) if new else ())


def match_names(known: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Return the position among the known names of each wanted one; None if it is not there.

    Case, spaces and punctuation do not count where the name remains unique: "Traffic-Light" is
    "traffic light".
    """
    plain_known, plain_wanted = ([_plain(name) for name in names] for names in (known, wanted))
    counts = Counter(plain_known), Counter(plain_wanted)
    positions = {name: index for index, name in enumerate(plain_known)}
    return [
        known.index(name)
        if name in known
        else positions.get(plain)
        if plain and counts[0][plain] == counts[1][plain] == 1
        else None
        for name, plain in zip(wanted, plain_wanted, strict=True)
    ]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _choose(held: Tensor, own: Tensor, rows: Sequence[int | None]) -> Tensor:
    return torch.stack(
        [own[index].to(held.dtype) if row is None else held[row] for index, row in enumerate(rows)]
    )
