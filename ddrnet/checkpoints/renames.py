"""State dicts from every family's names to this library's, and back."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from ddrnet.checkpoints.contents import fusion_strides
from ddrnet.checkpoints.families import choose_dialect, detect_dialect, detect_family
from ddrnet.checkpoints.tables import Rule, rename_table
from ddrnet.errors import CheckpointError
from ddrnet.weights.row import Family

logger = logging.getLogger(__name__)

_CLASSIFIER = re.compile(r"(?:backbone\.)?(?:down5|last_layer|linear)\.")
_STEM_PAIRS = (("stem.0", "stem.1"), ("stem.3", "stem.4"))  # convolution, its BatchNorm


def to_ddrnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of any family to this library's names.

    The layers that only an ImageNet classifier has are left out; mmsegmentation's stem, which has
    no biases, gets zeros.

    Args:
        state: Tensors as `read_state_dict` returns them, in the names of their family.

    Returns:
        The same tensors; a name that no rule knows stays as it is.

    Raises:
        CheckpointError: If no known DDRNet has such names, or two become one.
    """
    dialect = detect_dialect(state)
    rename = _renamer([(theirs, ours) for ours, theirs in rename_table(dialect)])
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = rename(key)
        if name is None and _CLASSIFIER.match(key):
            continue
        if (name or key) in renamed:
            raise CheckpointError(f"two tensors of the checkpoint are {name or key}, one is {key}")
        renamed[name or key] = tensor
    return _with_stem_biases(renamed) if dialect.family == "mmseg" else renamed


def from_ddrnet(state: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Rename a state dict of this library to the names of a family.

    mmsegmentation's stem has no biases: they are folded into the BatchNorm behind, which changes
    nothing in evaluation mode, and the log says so.

    Args:
        state: Tensors in this library's names.
        family: Whose names they get.

    Returns:
        The same tensors, except for that fold.

    Raises:
        CheckpointError: If the names are not this library's, or the family has no network of that
            form, or no name for a tensor.
    """
    if detect_family(state) != "ddrnet":
        raise CheckpointError(
            f"expected this library's names, got those of {detect_family(state)}: to_ddrnet first"
        )
    if family == "ddrnet":
        return dict(state)
    rename = _renamer(rename_table(choose_dialect(family, fusion_strides(state))))
    if family == "mmseg":
        state = _without_stem_biases(state)
    named = {key: rename(key) for key in state}
    nameless = [key for key, name in named.items() if name is None]
    if nameless:
        raise CheckpointError(f"{family} has no name for {', '.join(nameless)}")
    return {named[key] or key: tensor for key, tensor in state.items()}


def _renamer(rules: Iterable[Rule]) -> Callable[[str], str | None]:
    """Return a function that applies the first rule that fits, or returns None."""
    compiled = [(_pattern(beginning), replacement) for beginning, replacement in rules]

    def rename(key: str) -> str | None:
        for pattern, replacement in compiled:
            match = pattern.match(key)
            if match:
                return replacement.format(**match.groupdict()) + key[match.end() :]
        return None

    return rename


def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\d+)", re.escape(beginning)))


def _with_stem_biases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    zeros = {
        f"{convolution}.bias": weight.new_zeros(len(weight))
        for convolution, _ in _STEM_PAIRS
        if (weight := state.get(f"{convolution}.weight")) is not None
    }
    return {**zeros, **state}


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
