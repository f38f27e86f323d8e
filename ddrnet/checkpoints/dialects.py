"""Tensor names of each family of checkpoints: how to detect them, and how they map to ours.

A rule pairs a key prefix of this library with the prefix of another family. A placeholder such as
`{block}` stands for the same number in both prefixes, the rest of the key stays as it is, and the
first matching rule wins. Each table is written once and serves both directions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
"""Key of the first convolution; the group is the prefix of the backbone's keys."""

_FUSION = re.compile(r"compression_?(3\.\d+|\d+_\d+|\d+)\.(?:0|conv)\.weight$")

_KNOWN_STRIDES: dict[Family, str] = {
    "mmseg": "only 16, 32 (the 23 sizes)",
    "supergradients": "only 16, ..., 16, 32",
}

Rule = tuple[str, str]
"""A key prefix of this library, and the prefix that replaces it."""

# Index in our `nn.Sequential` of convolution, BatchNorm and ReLU -> name in the other family.
_NESTED = {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1"}
_NAMED = {0: "0.conv", 1: "0.bn", 3: "1.conv", 4: "1.bn"}
_SINGLE = {0: "conv", 1: "bn"}
_PRE_ACTIVATED = {0: "bn", 2: "conv"}

_HEADS: list[Rule] = [
    ("dappm.merge.", "spp.compression."),
    ("dappm.shortcut.", "spp.shortcut."),
    ("head.", "final_layer."),
    ("aux_head.", "seghead_extra."),
]

_MMSEG_HEADS: list[Rule] = [
    ("head.bn1.", "decode_head.head.0.bn."),
    ("head.conv1.", "decode_head.head.0.conv."),
    ("head.bn2.", "decode_head.head.1."),
    ("head.conv2.", "decode_head.conv_seg."),
    ("aux_head.bn1.", "decode_head.aux_head.0.bn."),
    ("aux_head.conv1.", "decode_head.aux_head.0.conv."),
    ("aux_head.bn2.", "decode_head.aux_head.1."),
    ("aux_head.conv2.", "decode_head.aux_cls_seg."),
]


class Dialect(NamedTuple):
    """The names that one state dict gives to the parts of the network.

    Attributes:
        family: The family of the names.
        root: Prefix of the backbone's keys; it differs between versions of a family.
        stages: Names of the fusion stages in order, such as ("3_1", "3_2", "4"); empty for this
            library's own names.
    """

    family: Family
    root: str = ""
    stages: tuple[str, ...] = ()


def detect_family(keys: Iterable[str]) -> Family:
    """Return the family of a state dict's tensor names.

    Args:
        keys: The keys of a state dict that `read_state_dict` returned.

    Raises:
        CheckpointError: If no known DDRNet has such names.
    """
    return detect_dialect(keys).family


def detect_dialect(keys: Iterable[str]) -> Dialect:
    """Return the dialect of a state dict, including old versions and missing prefixes.

    Raises:
        CheckpointError: If no known DDRNet has such names.
    """
    names = list(keys)
    for family, stem in _STEMS.items():
        match = next(filter(None, (re.fullmatch(stem, name) for name in names)), None)
        if match and family == "ddrnet":
            return Dialect(family)
        found = {fusion[1] for fusion in map(_FUSION.search, names) if fusion}
        if match and found:
            # by number: "3_2" comes before "3_10"
            stages = sorted(found, key=lambda name: [int(part) for part in re.split(r"\D", name)])
            return Dialect(family, match[1], tuple(stages))
    raise CheckpointError(
        "the tensor names belong to no known DDRNet (official, mmsegmentation, super-gradients, "
        f"ddrnet): {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    )


def choose_dialect(family: Family, strides: Sequence[int]) -> Dialect:
    """Return the dialect of a family for a network with these fusion stages.

    Args:
        family: The family of the names.
        strides: The stride of each fusion stage.

    Raises:
        CheckpointError: If that family has no such network.
    """
    if family == "mmseg" and tuple(strides) == (16, 32):
        return Dialect(family, "backbone.", ("1", "2"))
    if family == "supergradients" and tuple(strides) == (16,) * (len(strides) - 1) + (32,):
        repeats = tuple(f"3.{index}" for index in range(len(strides) - 1))
        return Dialect(family, "_backbone.", (*repeats, "4"))
    if family == "official" and strides:
        names: list[str] = []  # level 3 at stride 16, 4 at stride 32; 3_1, 3_2 if repeated
        for stride, group in groupby(strides):
            level, count = stride.bit_length() - 2, len(list(group))
            names += [str(level)] if count == 1 else [f"{level}_{i + 1}" for i in range(count)]
        return Dialect(family, "", tuple(names))
    raise CheckpointError(
        f"{family} has no DDRNet with fusion stages at strides "
        f"{', '.join(map(str, strides)) or '(none)'}; {_KNOWN_STRIDES.get(family, 'it needs one')}"
    )


def rename_table(dialect: Dialect) -> list[Rule]:
    """Return the rules between this library's names and those of a dialect.

    Source: the published code of each family, as recorded in tests/golden.
    """
    if dialect.family == "official":
        return _official(dialect)
    if dialect.family == "supergradients":
        return _supergradients(dialect)
    return _mmseg(dialect) if dialect.family == "mmseg" else [("", "")]


def _official(dialect: Dialect) -> list[Rule]:
    tail = int(dialect.stages[-1].partition("_")[0]) + 1
    rules = [("stem.", "conv1."), ("trunk.0.", "layer1."), ("trunk.1.", "layer2.")]
    for index, name in enumerate(dialect.stages):
        stage = f"fusion_stages.{index}."
        rules += [
            (f"{stage}low_res.", f"layer{name}."),
            (f"{stage}high_res.", f"layer{name}_."),
            (f"{stage}low_to_high.", f"compression{name}."),
            (f"{stage}high_to_low.", f"down{name}."),
        ]
    rules += [("low_res_tail.", f"layer{tail}."), ("high_res_tail.", f"layer{tail}_.")]
    rules += [("dappm.scales.{k}.", "spp.scale{k}.")]
    rules += [(f"dappm.refine.{k - 1}.", f"spp.process{k}.") for k in range(1, 5)]
    rules += [("high_to_low.", f"down{tail}."), ("conv_head.", "last_layer.")]
    return [*rules, ("classifier.", "linear."), *_HEADS]


def _supergradients(dialect: Dialect) -> list[Rule]:
    root, last = dialect.root, len(dialect.stages) - 1
    rules = _numbered("stem.", f"{root}stem.", _NESTED)
    rules += _with_shortcuts("trunk.0.", f"{root}layer1.")
    rules += _with_shortcuts("trunk.1.", f"{root}layer2.")
    for index, name in enumerate(dialect.stages):
        stage, (level, dot, repeat) = f"fusion_stages.{index}.", name.partition(".")
        rules += _with_shortcuts(f"{stage}low_res.", f"{root}layer{name}.")
        rules += _with_shortcuts(f"{stage}high_res.", f"layer{level}_skip{dot}{repeat}.")
        rules += [(f"{stage}low_to_high.", f"compression{name}.")]
        if index == last:
            rules += _numbered(f"{stage}high_to_low.", f"down{name}.", _NESTED)
        else:
            rules += [(f"{stage}high_to_low.", f"down{name}.")]
    rules += _with_shortcuts("low_res_tail.", "layer5.")
    rules += _with_shortcuts("high_res_tail.", "layer5_skip.")
    rules += [("dappm.scales.{k}.", "spp.branches.{k}.down_scale.")]
    rules += [(f"dappm.refine.{k - 1}.", f"spp.branches.{k}.process.") for k in range(1, 5)]
    return rules + _HEADS


def _mmseg(dialect: Dialect) -> list[Rule]:
    root, tail = dialect.root, len(dialect.stages)
    context, spatial = f"{root}context_branch_layers.", f"{root}spatial_branch_layers."
    rules = _numbered("stem.", f"{root}stem.", _NAMED)
    rules += _with_named_pairs("trunk.0.", f"{root}stem.2.")
    rules += _with_named_pairs("trunk.1.", f"{root}stem.4.")
    for index, name in enumerate(dialect.stages):
        stage = f"fusion_stages.{index}."
        down = _SINGLE if index == 0 else _NAMED
        rules += _with_named_pairs(f"{stage}low_res.", f"{context}{index}.")
        rules += _with_named_pairs(f"{stage}high_res.", f"{spatial}{index}.")
        rules += _numbered(f"{stage}low_to_high.", f"{root}compression_{name}.", _SINGLE)
        rules += _numbered(f"{stage}high_to_low.", f"{root}down_{name}.", down)
    rules += _with_named_pairs("low_res_tail.", f"{context}{tail}.")
    rules += _with_named_pairs("high_res_tail.", f"{spatial}{tail}.")
    rules += _numbered("dappm.scales.0.", f"{root}spp.scales.0.", _PRE_ACTIVATED)
    rules += _numbered("dappm.scales.{k}.", f"{root}spp.scales.{{k}}.1.", {1: "bn", 3: "conv"})
    rules += _numbered("dappm.refine.{k}.", f"{root}spp.processes.{{k}}.", _PRE_ACTIVATED)
    rules += _numbered("dappm.merge.", f"{root}spp.compression.", _PRE_ACTIVATED)
    rules += _numbered("dappm.shortcut.", f"{root}spp.shortcut.", _PRE_ACTIVATED)
    return rules + _MMSEG_HEADS


def _numbered(ours: str, theirs: str, names: Mapping[int, str]) -> list[Rule]:
    return [(f"{ours}{index}.", f"{theirs}{name}.") for index, name in names.items()]


def _with_shortcuts(ours: str, theirs: str) -> list[Rule]:
    """Return rules for residual blocks that call their `downsample` `shortcut`."""
    return [(f"{ours}{{block}}.downsample.", f"{theirs}{{block}}.shortcut."), (ours, theirs)]


def _with_named_pairs(ours: str, theirs: str) -> list[Rule]:
    """Return rules for residual blocks that keep each BatchNorm inside its convolution."""
    return [
        (f"{ours}{{block}}.conv{{n}}.", f"{theirs}{{block}}.conv{{n}}.conv."),
        (f"{ours}{{block}}.bn{{n}}.", f"{theirs}{{block}}.conv{{n}}.bn."),
        (f"{ours}{{block}}.downsample.", f"{theirs}{{block}}.downsample."),
    ]
