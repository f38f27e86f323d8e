"""What every family calls the tensors that this library calls otherwise.

A rule pairs the beginning of a name here with the beginning of a name there; a placeholder such
as `{block}` stands for the same number in both, what follows stays as it is, and the first rule
that fits is the one. Each table is written once and serves both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ddrnet.checkpoints.families import Dialect
from ddrnet.weights.row import Family

Rule = tuple[str, str]
"""How a name begins here, and how it begins there."""

_NESTED = {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1"}
"""Two convolutions with BatchNorm, a ReLU between: indices in one sequence, in two nested ones."""

_NAMED = {0: "0.conv", 1: "0.bn", 3: "1.conv", 4: "1.bn"}
"""The same where the convolution and BatchNorm of a pair have names."""

_SINGLE = {0: "conv", 1: "bn"}
_PRE_ACTIVATED = {0: "bn", 2: "conv"}

_HEADS: list[Rule] = [
    ("dappm.merge.", "spp.compression."),
    ("dappm.shortcut.", "spp.shortcut."),
    ("head.", "final_layer."),
    ("aux_head.", "seghead_extra."),
]


def rename_table(dialect: Dialect) -> list[Rule]:
    """Return the rules between this library's names and those of a dialect.

    Source: the published code of each family; the golden data of the tests recorded it.
    """
    return _TABLES[dialect.family](dialect)


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
    return rules + _HEADS


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


def _numbered(ours: str, theirs: str, names: Mapping[int, str]) -> list[Rule]:
    return [(f"{ours}{index}.", f"{theirs}{name}.") for index, name in names.items()]


def _with_shortcuts(ours: str, theirs: str) -> list[Rule]:
    """Return the rules for residual blocks whose `downsample` is called `shortcut`."""
    return [(f"{ours}{{block}}.downsample.", f"{theirs}{{block}}.shortcut."), (ours, theirs)]


def _with_named_pairs(ours: str, theirs: str) -> list[Rule]:
    """Return the rules for residual blocks that keep each BatchNorm inside its convolution."""
    return [
        (f"{ours}{{block}}.conv{{n}}.", f"{theirs}{{block}}.conv{{n}}.conv."),
        (f"{ours}{{block}}.bn{{n}}.", f"{theirs}{{block}}.conv{{n}}.bn."),
        (f"{ours}{{block}}.downsample.", f"{theirs}{{block}}.downsample."),
    ]


_TABLES: dict[Family, Callable[[Dialect], list[Rule]]] = {
    "official": _official,
    "mmseg": _mmseg,
    "supergradients": _supergradients,
    "ddrnet": lambda dialect: [("", "")],
}
