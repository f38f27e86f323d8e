"""Whose tensor names a state dict uses, and how it numbers the fusion stages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from ddrnet.errors import CheckpointError
from ddrnet.weights.row import Family

_STEMS: dict[Family, str] = {
    "official": r"()conv1\.0\.weight",
    "mmseg": r"(backbone\.|)stem\.0\.conv\.weight",
    "supergradients": r"(_?backbone\.)stem\.0\.0\.weight",
    "ddrnet": r"()stem\.0\.weight",
}
"""The name of the first convolution; the group is the root of the backbone's names."""

_FUSION = re.compile(r"compression_?(3\.\d+|\d+_\d+|\d+)\.(?:0|conv)\.weight$")


_KNOWN_STRIDES: dict[Family, str] = {
    "mmseg": "only 16, 32 (the 23 sizes)",
    "supergradients": "only 16, ..., 16, 32",
}


class Dialect(NamedTuple):
    """How one state dict names the parts of the network.

    Attributes:
        family: Whose names they are.
        root: What the names of the backbone begin with; it changed with the versions.
        stages: What it calls the fusion stages, in order: ("3_1", "3_2", "4"); empty for this
            library's own names.
    """

    family: Family
    root: str = ""
    stages: tuple[str, ...] = ()


def detect_family(keys: Iterable[str]) -> Family:
    """Return whose tensor names these are.

    Args:
        keys: The names of a state dict, as `read_state_dict` returns them.

    Raises:
        CheckpointError: If no known DDRNet has such names.
    """
    return detect_dialect(keys).family


def detect_dialect(keys: Iterable[str]) -> Dialect:
    """Return how these names are formed, old versions and missing prefixes included.

    Raises:
        CheckpointError: If no known DDRNet has such names.
    """
    names = list(keys)
    for family, stem in _STEMS.items():
        match = next(filter(None, (re.fullmatch(stem, name) for name in names)), None)
        stages = _stages(names) if family != "ddrnet" else ()
        if match and (stages or family == "ddrnet"):
            return Dialect(family, match[1], stages)
    raise CheckpointError(
        "the tensors have names of no known DDRNet (official, mmsegmentation, super-gradients, "
        f"ddrnet): {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    )


def choose_dialect(family: Family, strides: Sequence[int]) -> Dialect:
    """Return the names that `family` gives a network whose fusion stages have these strides.

    Raises:
        CheckpointError: If that family has no such network.
    """
    if family == "mmseg" and tuple(strides) == (16, 32):
        return Dialect(family, "backbone.", ("1", "2"))
    if family == "supergradients" and tuple(strides) == (16,) * (len(strides) - 1) + (32,):
        repeats = tuple(f"3.{index}" for index in range(len(strides) - 1))
        return Dialect(family, "_backbone.", (*repeats, "4"))
    if family == "official" and strides:
        return Dialect(family, "", _official_stages(strides))
    raise CheckpointError(
        f"{family} has no DDRNet with fusion stages at strides "
        f"{', '.join(map(str, strides)) or '(none)'}; {_KNOWN_STRIDES.get(family, 'it needs one')}"
    )


def _official_stages(strides: Sequence[int]) -> tuple[str, ...]:
    """Number stages as the published code does: 3 at stride 16, 4 at 32; 3_1, 3_2 where two."""
    names = []
    for stride, group in groupby(strides):
        level, count = stride.bit_length() - 2, len(list(group))
        names += [str(level)] if count == 1 else [f"{level}_{i + 1}" for i in range(count)]
    return tuple(names)


def _stages(names: Iterable[str]) -> tuple[str, ...]:
    found = {match[1] for match in map(_FUSION.search, names) if match}
    return tuple(sorted(found, key=lambda name: [int(part) for part in re.split(r"\D", name)]))
