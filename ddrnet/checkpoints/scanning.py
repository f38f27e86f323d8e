"""Names that a pickle imports, found by reading its instructions without running them."""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Any, BinaryIO, Literal, NamedTuple

Filling = Literal["object", "list", "dict"]
"""Whether a pickle fills the objects of a class like lists, like dictionaries, or not at all."""

_FILLINGS: dict[str, Filling] = {
    "APPEND": "list",
    "APPENDS": "list",
    "SETITEM": "dict",
    "SETITEMS": "dict",
}
_KEEP_THEIR_OBJECT = {*_FILLINGS, "BUILD", "NEWOBJ", "NEWOBJ_EX", "REDUCE"}
_MARK = pickletools.markobject


class Global(NamedTuple):
    """A class or function that a pickle imports."""

    module: str
    name: str

    @property
    def spellings(self) -> set[str]:
        """The dotted name as written, and its Python 3 name if the pickle uses a Python 2 name."""
        module, name = NAME_MAPPING.get(self, self)
        return {f"{self.module}.{self.name}", f"{IMPORT_MAPPING.get(module, module)}.{name}"}


class Scanner:
    """Follows the stack of one or more pickles.

    Attributes:
        globals: Every imported class or function, and how the pickle fills its objects.
        protocol: The highest pickle protocol so far.
    """

    def __init__(self) -> None:
        self.globals: dict[Global, Filling] = {}
        self.protocol = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def scan(self, file: BinaryIO) -> None:
        """Read one pickle; `file` is then positioned behind it.

        Raises:
            ValueError: If the pickle is cut off, or the file holds no pickle.
            LookupError: If its instructions are inconsistent.
        """
        self._stack, self._memo = [], {}
        for opcode, value, _ in pickletools.genops(file):
            argument: Any = value
            if opcode.name == "PROTO":
                self.protocol = max(self.protocol, argument)
            elif opcode.name == "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            elif opcode.name.endswith("PUT"):
                self._memo[argument] = self._stack[-1]
            elif opcode.name.endswith("GET"):
                self._stack.append(self._memo[argument])
            else:
                self._apply(opcode, argument)

    def _apply(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        taken = self._take(opcode)
        if opcode.name in _KEEP_THEIR_OBJECT:
            self._stack.append(taken[0])
        elif opcode.name in ("GLOBAL", "INST"):
            self._look_up(*argument.split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            self._look_up(*taken)
        elif isinstance(argument, str):
            self._stack.append(argument)
        else:
            self._stack += opcode.stack_after
        filling = _FILLINGS.get(opcode.name)
        if filling and isinstance(taken[0], Global):
            self.globals[taken[0]] = filling

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        """Pop the operands of an instruction, without the mark that may lie below them."""
        before = opcode.stack_before
        count = len(before)
        if _MARK in before:
            depth = self._stack[::-1].index(_MARK)
            count = before.index(_MARK) + 1 + depth
        start = len(self._stack) - count
        taken = self._stack[start:]
        del self._stack[start:]
        return [value for value in taken if value is not _MARK]

    def _look_up(self, module: str, name: str) -> None:
        found = Global(module, name)
        self.globals.setdefault(found, "object")
        self._stack.append(found)
