"""Class tables: one row per class, every mapping derived from the rows. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

Color = tuple[int, int, int]

IGNORE_INDEX = 255
"""The value of label pixels that neither train nor count."""


@dataclass(frozen=True)
class ClassLabel:
    """One class of a data set.

    Attributes:
        name: The name shown to people.
        color: Red, green, blue, each 0-255.
        train_id: The index a network predicts; `IGNORE_INDEX` for classes that are ignored.
        id: The value in the data set's own label files; -1 where it has none.
        category: The group the class belongs to.
        category_id: The group's number.
        has_instances: Whether single objects are told apart in the annotations.
        ignored: Whether the official evaluation leaves the class out.
    """

    name: str
    color: Color
    train_id: int = IGNORE_INDEX
    id: int = -1
    category: str = ""
    category_id: int = -1
    has_instances: bool = False
    ignored: bool = False


@dataclass(frozen=True)
class LabelTable:
    """The rows of a data set's classes and the mappings that follow from them."""

    name: str
    rows: tuple[ClassLabel, ...]

    @cached_property
    def classes(self) -> tuple[ClassLabel, ...]:
        """The trained classes, the first row of each train id, in the order of train ids."""
        first: dict[int, ClassLabel] = {}
        for row in self.rows:
            if row.train_id != IGNORE_INDEX:
                first.setdefault(row.train_id, row)
        return tuple(first[train_id] for train_id in sorted(first))
