"""State dicts renamed from any family to this library, and back."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from ddrnet.checkpoints.contents import fusion_strides
from ddrnet.checkpoints.dialects import (
    Rule,
    choose_dialect,
    detect_dialect,
    detect_family,
    rename_table,
)
from ddrnet.errors import CheckpointError
from ddrnet.variants import CLASSIFIER
from ddrnet.weights.row import Family

logger = logging.getLogger(__name__)

_LEFTOVERS = re.compile(r"(?:backbone\.)?(?:down5|last_layer|linear)\.")
"""Last layers of a classifier in a file of another family, which has no names for them."""

_STEM_PAIRS = (("stem.0", "stem.1"), ("stem.3", "stem.4"))  # convolution, its BatchNorm


def to_ddrnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of any family to this library's names.

    mmsegmentation's stem has no biases; it gets zeros. Its converted backbones may contain the last
    layers of the official classifier, which are dropped.

    Args:
        state: The tensors that `read_state_dict` returned, under the names of their family.

    Returns:
        The same tensors; a name without a rule is kept.

    Raises:
        CheckpointError: If no known DDRNet has such names, or two tensors get the same name.
    """
    dialect = detect_dialect(state)
    rename = _renamer([(theirs, ours) for ours, theirs in rename_table(dialect)])
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = rename(key)
        if name is None and _LEFTOVERS.match(key):
            continue
        if (name or key) in renamed:
            raise CheckpointError(f"two tensors become {name or key}; one of them is {key}")
        renamed[name or key] = tensor
    for convolution, _ in _STEM_PAIRS if dialect.family == "mmseg" else ():
        weight = renamed.get(f"{convolution}.weight")
        if weight is not None:
            renamed.setdefault(f"{convolution}.bias", weight.new_zeros(len(weight)))
    return renamed


def from_ddrnet(state: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Rename a state dict of this library to the names of a family.

    mmsegmentation's stem has no biases. They are folded into the BatchNorm that follows, which
    changes nothing in evaluation mode. Only the official family has names for the last layers of a
    classifier; for the others they are left out. The log reports both.

    Args:
        state: Tensors under this library's names.
        family: The family that gives the new names.

    Returns:
        The same tensors, except for those folded or left out.

    Raises:
        CheckpointError: If the names are not this library's, or the family has no such network or
            no name for a tensor.
    """
    if detect_family(state) != "ddrnet":
        raise CheckpointError(
            f"expected this library's names, got those of {detect_family(state)}: call to_ddrnet "
            "first"
        )
    if family == "ddrnet":
        return dict(state)
    rename = _renamer(rename_table(choose_dialect(family, fusion_strides(state))))
    last_layers = [key for key in state if key.startswith(CLASSIFIER)]
    if last_layers and family != "official":
        logger.info("left out %s: %s has no classifier", ", ".join(last_layers), family)
        state = {key: state[key] for key in state if key not in last_layers}
    if family == "mmseg":
        state = _without_stem_biases(state)
    named = {key: rename(key) for key in state}
    nameless = [key for key, name in named.items() if name is None]
    if nameless:
        raise CheckpointError(f"{family} has no name for {', '.join(nameless)}")
    return {named[key] or key: tensor for key, tensor in state.items()}


def _renamer(rules: Iterable[Rule]) -> Callable[[str], str | None]:
    """Return a function that renames a key by the first matching rule; None if there is none."""
    compiled = [
        # {block} in a rule matches a number and hands it to the replacement
        (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\d+)", re.escape(prefix))), replacement)
        for prefix, replacement in rules
    ]

    def rename(key: str) -> str | None:
        for pattern, replacement in compiled:
            match = pattern.match(key)
            if match:
                return replacement.format(**match.groupdict()) + key[match.end() :]
        return None

    return rename


def _without_stem_biases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    folded = dict(state)
    for convolution, norm in _STEM_PAIRS:
        bias, mean = folded.pop(f"{convolution}.bias", None), f"{norm}.running_mean"
        if bias is not None and bias.any() and mean in folded:
            folded[mean] = (folded[mean] - bias).to(folded[mean].dtype)
            logger.info(
                "folded %s.bias into %s: mmsegmentation has no such bias", convolution, mean
            )
    return folded
