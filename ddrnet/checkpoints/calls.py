"""Calls in a pickle: which of them torch's safe reader may make, and with which arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ddrnet.checkpoints.values import Global, Node, Storage, View

TORCHS_OWN = re.compile(
    r"torch|torch\.(_tensor|_utils|cuda|cuda\.sparse|serialization|sparse|storage|nn\.parameter)"
)
"""Modules whose names torch's safe reader looks up and calls."""

REBUILDING = frozenset(
    {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
)
"""Functions of torch._utils that make a tensor of a storage, its shape and strides."""

_MAX_DIMENSIONS = 64  # of a tensor.
_CODECS = frozenset({"ascii", "latin1", "latin-1", "utf8", "utf-8"})


def is_harmless(function: Global, arguments: Sequence[Any]) -> bool:
    """Whether a call is inert, or needs no more memory and time than the file has bytes.

    Args:
        function: The called class or function.
        arguments: The items of the tuple that it is called with.
    """
    for name in function.spellings & RULES.keys():
        return RULES[name](arguments)
    return not is_torchs(function)


def rebuilt_view(arguments: Sequence[Any]) -> View | None:
    """Return the tensor that a call rebuilds; None if it is not called as torch.save does."""
    match arguments:
        case [Storage() as storage, int() as offset, Node() as size, Node() as stride, *more]:
            dtype = next((part for part in more if isinstance(part, Global)), None)
            numbers = [*size.items, *stride.items]
            fits = len(size.items) == len(stride.items) <= _MAX_DIMENSIONS
            if fits and all(type(number) is int for number in numbers):
                return View(storage, offset, tuple(size.items), tuple(stride.items), dtype)
    return None


def _is_plain(arguments: Sequence[Any]) -> bool:
    """Whether no argument is a tensor, over which Python would go slowly, or a huge integer."""
    return not any(
        isinstance(argument, Storage)
        or (isinstance(argument, Node) and (argument.collides or is_torchs(argument.source)))
        for argument in arguments
    )


def is_torchs(source: Global | None) -> bool:
    """Whether torch's safe reader looks up the names of this one's module."""
    return source is not None and TORCHS_OWN.fullmatch(source.module) is not None


def _are_bytes(arguments: Sequence[Any]) -> bool:
    """Whether the arguments of bytearray are its content, not a length."""
    match arguments:
        case [] | [str() | bytes() | Node(source=None | ("_codecs", "encode"))]:
            return True  # protocol 2 spells bytes as a call of encode
    return _is_text(arguments)


def _is_text(arguments: Sequence[Any]) -> bool:
    """Whether the arguments are a text and a codec that is linear in its length."""
    return len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] in _CODECS


def _is_any(arguments: Sequence[Any]) -> bool:
    return True


RULES: dict[str, Callable[[Sequence[Any]], bool]] = {
    "_codecs.encode": _is_text,
    "builtins.bytearray": _are_bytes,
    "builtins.complex": _is_plain,
    "builtins.set": _is_plain,
    "collections.Counter": _is_plain,
    "collections.OrderedDict": _is_plain,
    "torch.Size": _is_plain,
    "torch.device": _is_plain,
    "torch.serialization._get_layout": _is_plain,
    "torch.nn.parameter.Parameter": _is_any,
    "torch._utils._rebuild_meta_tensor_no_storage": _is_any,
    "torch._utils._rebuild_parameter": _is_any,
    "torch._utils._rebuild_parameter_with_state": _is_any,
    "torch._utils._rebuild_sparse_tensor": _is_any,
}
"""Functions that torch's safe reader calls, each with a check of its arguments."""
