"""Follows the instructions of a pickle without running them.

The scan is linear in the size of the file. It also bounds what torch's safe reader does not: the
number of instructions, the nesting of containers, and the arguments of the functions it calls.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

from ddrnet.checkpoints.calls import REBUILDING, RULES, is_harmless, is_torchs, rebuilt_view
from ddrnet.checkpoints.values import MAX_ITEMS, Global, Node, Storage, View, collides, items_of

Filling = Literal["object", "list", "dict"]
"""Whether a pickle fills the objects of a class like lists, like dictionaries, or not at all."""

MAX_CHARS = 128 << 20
"""Characters that all calls together may copy; a zip archive's pickle has at most half of it."""

MAX_INSTRUCTIONS = 1_000_000
"""A published training checkpoint has some ten thousand."""

_SAFE_INSTRUCTIONS = frozenset(
    {
        "APPEND",
        "APPENDS",
        "BINFLOAT",
        "BINGET",
        "BININT",
        "BININT1",
        "BININT2",
        "BINPERSID",
        "BINPUT",
        "BINUNICODE",
        "BUILD",
        "EMPTY_DICT",
        "EMPTY_LIST",
        "EMPTY_SET",
        "EMPTY_TUPLE",
        "GLOBAL",
        "LONG1",
        "LONG_BINGET",
        "LONG_BINPUT",
        "MARK",
        "NEWFALSE",
        "NEWOBJ",
        "NEWTRUE",
        "NONE",
        "PROTO",
        "REDUCE",
        "SETITEM",
        "SETITEMS",
        "SHORT_BINSTRING",
        "STOP",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
    }
)
"""The instructions that torch.save writes and torch's safe reader follows."""

_FILLINGS: dict[str, Filling] = {
    "APPEND": "list",
    "APPENDS": "list",
    "SETITEM": "dict",
    "SETITEMS": "dict",
}
_PUTS = frozenset({"BINPUT", "LONG_BINPUT", "MEMOIZE", "PUT"})
_GETS = frozenset({"BINGET", "GET", "LONG_BINGET"})
_HASH_MODULUS = (1 << 61) - 1
"""Larger integers share their hashes with others; a dictionary of such keys takes for ever."""

_TO_MARK = frozenset(
    opcode.name for opcode in pickletools.opcodes if pickletools.markobject in opcode.stack_before
)
_TAKES = {
    opcode.name: opcode.stack_before.index(pickletools.markobject)
    if opcode.name in _TO_MARK
    else len(opcode.stack_before)
    for opcode in pickletools.opcodes
}
"""Values that an instruction takes from the stack, without those above a mark."""

_CONSTANTS = frozenset(
    opcode.name
    for opcode in pickletools.opcodes
    if not opcode.stack_before
    and opcode.stack_after not in ([], [pickletools.anyobject], [pickletools.markobject])
    and not opcode.name.startswith("EMPTY_")
    and opcode.name not in ("INT", "LONG", "LONG1", "LONG4")
)


class Scanner:
    """Follows the stack of one or more pickles.

    Attributes:
        globals: Every imported class or function, and how the pickle fills its objects.
        protocol: The highest pickle protocol so far.
        unsafe: Reasons why torch's safe reader must not read the pickles.
        storages: Every storage.
        views: Every tensor.
    """

    def __init__(self) -> None:
        self.globals: dict[Global, Filling] = {}
        self.protocol = 0
        self.unsafe: list[str] = []
        self.storages: dict[str, Storage] = {}
        self.views: list[View] = []
        self._items = self._chars = 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def scan(self, file: BinaryIO) -> Any:
        """Read one pickle; `file` is then positioned behind it.

        Returns:
            What it builds: a constant, a `Global`, a `Storage` or a `Node`.

        Raises:
            ValueError: If the pickle is cut off, too large, or the file holds no pickle.
            LookupError: If its instructions are inconsistent.
        """
        self._stack, self._below, self._memo = [], [], {}
        stack, memo = self._stack, self._memo
        instructions: Iterator[tuple[Any, Any, Any]] = pickletools.genops(file)
        for number, (opcode, argument, _) in enumerate(instructions):
            name = opcode.name
            if name in _CONSTANTS:
                stack.append(argument)
            elif name in _PUTS:
                memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
            elif name in _GETS:
                stack.append(memo[argument])
            elif name == "MARK":
                self._below.append(stack)
                self._stack = stack = []
            else:
                _STEPS[name](self, name, argument, self._take(name))
                stack = self._stack
            if name not in _SAFE_INSTRUCTIONS:
                self.unsafe.append(f"it uses the pickle instruction {name}")
            if number > MAX_INSTRUCTIONS:
                raise ValueError(f"more than {MAX_INSTRUCTIONS} instructions")
        return stack.pop()

    def _take(self, name: str) -> list[Any]:
        """Pop what an instruction works on: values, all values down to a mark, or both."""
        taken: list[Any] = []
        if name in _TO_MARK:
            taken, self._stack = self._stack, self._below.pop()
        if count := _TAKES[name]:
            if count > len(self._stack):
                raise LookupError(f"{name} finds too few values")
            taken = self._stack[-count:] + taken
            del self._stack[-count:]
        return taken

    def _start(self, name: str, argument: Any, taken: list[Any]) -> None:
        if name == "PROTO":
            self.protocol = max(self.protocol, argument)

    def _integer(self, name: str, argument: Any, taken: list[Any]) -> None:
        is_huge = not -_HASH_MODULUS < argument < _HASH_MODULUS
        self._stack.append(Node.of_huge_integer() if is_huge else argument)

    def _collect(self, name: str, argument: Any, taken: list[Any]) -> None:
        self._stack.append(node := Node())
        node.extend(taken)

    def _copy(self, name: str, argument: Any, taken: list[Any]) -> None:
        self._stack += {"DUP": 2 * taken, "STOP": taken}.get(name, [])  # POP leaves nothing

    def _look_up(self, name: str, argument: Any, taken: list[Any]) -> None:
        found = Global(*(taken if name == "STACK_GLOBAL" else argument.split(" ", 1)))
        if not all(isinstance(part, str) for part in found):
            raise ValueError("the name of a class is no text")
        self.globals.setdefault(found, "object")
        self._stack.append(Node(found) if name == "INST" else found)

    def _set_state(self, name: str, argument: Any, taken: list[Any]) -> None:
        target = taken[0]
        source = target.source if isinstance(target, Node) else target
        if isinstance(source, Global) and is_torchs(source):
            self.unsafe.append(f"it sets the state of {'.'.join(source)}")
        self._stack.append(target)

    def _fill(self, name: str, argument: Any, taken: list[Any]) -> None:
        """Add items to a container."""
        target, *items = taken
        if name.startswith("SETITEM") and any(map(collides, items[::2])):
            raise ValueError("keys of a dictionary are larger than 61 bits")
        for key in items[::2] if name.startswith("SETITEM") else ():
            self._spend(key)
        if isinstance(target, Storage) or (isinstance(target, Node) and is_torchs(target.source)):
            self.unsafe.append("it sets items of a tensor")  # torch below 2.10 writes anywhere
        source = target.source if isinstance(target, Node) else target
        if isinstance(target, Node):
            target.extend(items)
        if isinstance(source, Global) and name in _FILLINGS:
            self.globals[source] = _FILLINGS[name]
        self._stack.append(target)

    def _call(self, name: str, argument: Any, taken: list[Any]) -> None:
        function, arguments = taken[:2]
        source = function.source if isinstance(function, Node) else function
        result = Node(source if isinstance(source, Global) else None)
        result.extend([arguments])
        self._stack.append(result)
        if not isinstance(source, Global):
            return
        if not isinstance(arguments, Node) or arguments.source:
            self.unsafe.append(f"it calls {'.'.join(source)} with arguments that are no tuple")
            return
        if source.spellings & RULES.keys():
            self._spend(arguments)
        if not self._is_harmless(source, arguments.items):
            self.unsafe.append(f"it calls {'.'.join(source)} as torch.save does not")

    def _spend(self, value: Any) -> None:
        """Count what a call copies, or a key hashes: a pickle can repeat both in a few bytes.

        Raises:
            ValueError: If all of it is more than a checkpoint needs.
        """
        if isinstance(value, Node):
            self._items += value.count
            self._chars += value.chars
        if self._items > MAX_ITEMS or self._chars > MAX_CHARS:
            raise ValueError("its calls and keys repeat too many items or too much text")

    def _is_harmless(self, function: Global, arguments: Sequence[Any]) -> bool:
        """Whether a call is inert, or needs no more memory and time than the file has bytes."""
        if function == ("torch._tensor", "_rebuild_from_type_v2"):  # calls a function itself
            match arguments:
                case [Global() as inner, _, Node(source=None) as given, *_] if inner != function:
                    return self._is_harmless(inner, given.items)
            return False
        if function.module == "torch._utils" and function.name in REBUILDING:
            view = rebuilt_view(arguments)
            self.views += [view] if view else []
            return view is not None
        return is_harmless(function, arguments)

    def _announce(self, name: str, argument: Any, taken: list[Any]) -> None:
        """Follow a reference to a storage: ("storage", class, key, location, length[, view])."""
        parts = items_of(taken[0]) if taken else []
        match parts:
            case ["module", Global() as kind, *_]:  # legacy files only
                self.unsafe.append(f"it holds a module of the class {'.'.join(kind)}")
                self._stack.append(Node(kind))
                return
            case ["storage", Global() as kind, str() as key, str(), int() as length, *view]:
                storage = Storage(kind, key, length)
            case _:
                raise ValueError("a reference leads to no storage")
        if self.storages.setdefault(key, storage) != storage or length < 0:
            raise ValueError(f"the storage {key} is announced in two ways")
        if view and view[0] is not None:  # legacy files only
            match items_of(view[0]):
                case [str(), int() as offset, int() as part] if (
                    0 <= offset <= length - part <= length
                ):
                    storage = storage._replace(length=part)
                case _:
                    raise ValueError(f"the view of the storage {key} lies outside of it")
        self._stack.append(storage)


_STEPS = {
    **dict.fromkeys(("ADDITEMS", *_FILLINGS), Scanner._fill),
    **dict.fromkeys(("BINPERSID", "PERSID"), Scanner._announce),
    **dict.fromkeys(("BUILD",), Scanner._set_state),
    **dict.fromkeys(("DICT", "FROZENSET", "LIST", "TUPLE"), Scanner._collect),
    **dict.fromkeys(("DUP", "POP", "POP_MARK", "READONLY_BUFFER", "STOP"), Scanner._copy),
    **dict.fromkeys(("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE"), Scanner._collect),
    **dict.fromkeys(("FRAME", "PROTO"), Scanner._start),
    **dict.fromkeys(("GLOBAL", "INST", "STACK_GLOBAL"), Scanner._look_up),
    **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), Scanner._integer),
    **dict.fromkeys(("NEWOBJ", "NEWOBJ_EX", "OBJ", "REDUCE"), Scanner._call),
    **dict.fromkeys(("TUPLE1", "TUPLE2", "TUPLE3"), Scanner._collect),
}
"""Instruction -> the method that follows it; a name that is missing raises KeyError."""
