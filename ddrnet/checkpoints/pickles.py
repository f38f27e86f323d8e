"""Files of `torch.save`, read without running any code in them.

torch's safe reader refuses a file that names an unknown class, and training frameworks save such
objects beside the weights: buffers, options, numpy scalars. Here an inert stand-in replaces each
of these classes, and the same safe reader reads the file again.
"""

from __future__ import annotations

import pickle
import struct
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NoReturn

import torch

from ddrnet.checkpoints.containers import scan_file
from ddrnet.checkpoints.scanning import Filling, Scanner
from ddrnet.errors import CheckpointError, UnsafeCheckpointError

BLOCKED_MODULES = frozenset({"nt", "os", "posix", "sys"})
"""Modules whose names torch's safe reader always refuses, even if they are allowed."""

_SAFE_PROTOCOL = 2

# A damaged pickle breaks torch's reader at its own stack, memo or file.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)

_allowing = threading.Lock()  # torch has one list of allowed names per process


class StandIn:
    """Replaces a foreign class or function, accepts any arguments and does nothing.

    An instance equals its class: torch only calls objects that equal an allowed class or function,
    and a pickle may call the result of a call.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an object from any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> StandIn:
        """Return itself."""
        return self

    def __setstate__(self, state: Any) -> None:
        """Ignore the state."""

    def __eq__(self, other: object) -> bool:
        return other is self or other is type(self)

    __hash__ = object.__hash__


class _ListStandIn(StandIn):
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return []  # torch's safe reader appends only to real lists


class _DictStandIn(StandIn):
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()  # and sets items only in real dictionaries


_STAND_INS: dict[Filling, type[StandIn]] = {
    "object": StandIn,
    "list": _ListStandIn,
    "dict": _DictStandIn,
}


def load_pickled(path: Path) -> object:
    """Read a file of `torch.save`, in the zip or the legacy format, onto the CPU.

    Returns:
        The saved object; objects of foreign classes become `StandIn`s, lists or dictionaries.

    Raises:
        CheckpointError: If the file is damaged, or torch did not write it.
        UnsafeCheckpointError: If it names a function of a module that torch blocks.
    """
    try:
        scanner = scan_file(path)
        _check_globals(path, scanner)
        return _load(path, scanner)
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is damaged or incomplete ({_reason(error)}): fetch or save it again"
        ) from error


def refuse_plain_pickle(path: Path) -> NoReturn:
    """Raise an error explaining why this pickle, which torch did not write, is refused.

    Raises:
        CheckpointError: In every other case.
        UnsafeCheckpointError: If it names a function of a module that torch blocks.
    """
    try:
        _check_globals(path, scan_file(path))
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is a damaged pickle ({_reason(error)})") from error
    raise CheckpointError(
        f"{path} is a plain pickle, which cannot be read safely: load it where it was made and "
        "save the state dict with torch.save"
    )


def _load(path: Path, scanner: Scanner) -> object:
    try:
        return _torch_load(path)
    except pickle.UnpicklingError:
        pass  # it names foreign classes
    try:
        with _allowing, torch.serialization.safe_globals(_stand_ins(scanner)):
            return _torch_load(path)
    except pickle.UnpicklingError as error:
        names = ", ".join(sorted(".".join(found) for found in scanner.globals))
        raise CheckpointError(
            f"torch cannot read {path} safely ({_reason(error)}); it names {names}. Load it where "
            "it was made and save only the state_dict()"
        ) from error


def _torch_load(path: Path) -> object:
    with path.open("rb") as file:  # torch would choose the format by the extension of a path
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    return content


def _check_globals(path: Path, scanner: Scanner) -> None:
    names = {name for found in scanner.globals for name in found.spellings}
    blocked = sorted(name for name in names if name.partition(".")[0] in BLOCKED_MODULES)
    if blocked:
        raise UnsafeCheckpointError(
            f"{path} is not safe: it imports {', '.join(blocked)}. No code of it was run; get the "
            "weights from a source you trust"
        )
    if scanner.unsafe and scanner.protocol > _SAFE_PROTOCOL:
        raise CheckpointError(
            f"{path} uses pickle protocol {scanner.protocol}, which torch does not read safely: "
            "load it where it was made and save it with torch.save's defaults"
        )
    if scanner.unsafe:
        raise CheckpointError(
            f"{path} is not read, because {scanner.unsafe[0]}. No code of it was run. Load it "
            "where it was made, and save only the state_dict()"
        )


def _stand_ins(scanner: Scanner) -> list[Any]:
    """Return an inert class per name; it bears that name, which errors then mention."""
    return [
        (type(found.name, (_STAND_INS[filling],), {}), spelling)
        for found, filling in scanner.globals.items()
        for spelling in found.spellings
    ]


def _reason(error: BaseException) -> str:
    """Return torch's own words, without its advice to read the file unsafely."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    return text.splitlines()[0] if text else type(error).__name__
