"""The values that a pickle builds, as far as a scan follows them."""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

MAX_DEPTH = 100
"""Containers in containers. Hashing a deeply nested tuple overflows the stack of the process."""

MAX_ITEMS = 1_000_000
"""Items of a container, those of its containers included and counted each time they occur."""


class Global(NamedTuple):
    """A class or function that a pickle imports."""

    module: str
    name: str

    @property
    def spellings(self) -> frozenset[str]:
        """The dotted name as written, and its Python 3 name if the pickle uses a Python 2 name."""
        return _spellings(self)


@lru_cache(1024)
def _spellings(found: Global) -> frozenset[str]:
    module, name = NAME_MAPPING.get(found, found)
    return frozenset(
        {f"{found.module}.{found.name}", f"{IMPORT_MAPPING.get(module, module)}.{name}"}
    )


class Storage(NamedTuple):
    """The memory of one or more tensors, as a pickle announces it.

    Attributes:
        kind: Its class, such as torch.FloatStorage.
        key: The name of its data in the file.
        length: The number of its elements.
    """

    kind: Global
    key: str
    length: int


class View(NamedTuple):
    """A tensor, as a pickle announces it.

    Attributes:
        storage: Its memory.
        offset: Elements of the storage before its first one.
        size: Its shape.
        stride: Elements of the storage from one index to the next, per dimension.
        dtype: The element type, where it is not that of the storage.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: Global | None


class Node:
    """A container or an object that a pickle builds.

    Attributes:
        items: Its items so far; a dictionary's keys and values alternate.
        source: The class or function whose call makes it; None for plain containers.
        depth: Levels of containers inside, itself included.
        count: Items in all levels.
        chars: Length of the texts in all levels.
        collides: Whether an integer inside may share its hash with many others.
    """

    __slots__ = ("chars", "collides", "count", "depth", "items", "source")

    def __init__(self, source: Global | None = None) -> None:
        self.items: list[Any] = []
        self.source = source
        self.depth = 1
        self.count = 0
        self.chars = 0
        self.collides = False

    @classmethod
    def of_huge_integer(cls) -> Node:
        """Return what stands for an integer that may share its hash with many others."""
        node = cls()
        node.collides = True
        return node

    def extend(self, items: Sequence[Any]) -> None:
        """Add items, within the limits.

        Raises:
            ValueError: If there are too many, or they are nested too deeply.
        """
        self.items += items
        self.count += len(items)
        for item in items:
            if type(item) is str or type(item) is bytes:
                self.chars += len(item)
            elif type(item) is Node:
                self.count += item.count
                self.chars += item.chars
                self.collides |= item.collides
                if item.depth >= self.depth:
                    self.depth = item.depth + 1
        if self.depth > MAX_DEPTH:
            raise ValueError(f"containers are nested more than {MAX_DEPTH} deep")
        if self.count > MAX_ITEMS:
            raise ValueError(f"a container holds more than {MAX_ITEMS} items")


def items_of(value: Any) -> list[Any]:
    """Return the items of a container; of anything else none."""
    return value.items if isinstance(value, Node) else []


def collides(key: Any) -> bool:
    """Whether a key may share its hash with many others."""
    return isinstance(key, Node) and key.collides
