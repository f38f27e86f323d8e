"""`classes.txt`: the classes of own data, one per line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ddrnet.errors import DatasetError
from ddrnet.labels import (
    IGNORE_INDEX,
    ClassLabel,
    Color,
    LabelTable,
    check_unique,
    distinct_colors,
    label_table,
)

CLASS_LIST = "classes.txt"

IGNORE_WORD = "ignore"
"""The last word in the line of an ignored class."""

_LINE = re.compile(
    rf"""(?:"(?P<quoted>[^"]+)"
          | (?!\d+[\s:.;)=]) (?!{IGNORE_WORD}\b[\s\d]*$)   # no number first, no missing name
            (?P<plain>[^",;][^,;]*?))
        (?P<numbers>(?:\s+\d+)*)                            # VALUE, R G B or VALUE R G B
        (?P<ignored>\s+{IGNORE_WORD})?""",
    re.VERBOSE,
)


def read_class_list(path: Path) -> LabelTable:
    """Read the classes of label files.

    A line is `NAME`, `NAME VALUE`, `NAME R G B` or `NAME VALUE R G B`, separated by spaces, and may
    end in the word `ignore`. VALUE is the number of the class in grey and palette label files; by
    default it is the position of the line, counted from 0 and including ignored classes. R G B is
    the colour of the class in RGB label files and in pictures. Pixels of an ignored class neither
    train nor count. Names may contain spaces; quote a name that begins or ends in a number or
    contains a comma. Empty lines and everything after a `#` are comments.

        # name [value] [red green blue] [ignore]
        water
        land
        "route 66"
        unlabelled 4 ignore

    Raises:
        DatasetError: If the file is missing, a line cannot be parsed, or two classes share a name,
            a value or a colour.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is missing: write the name of each class on its own line, in the order of "
            "the values in the label files, such as 'water', 'land', 'unlabelled 4 ignore'"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: {error}") from error
    parsed: list[_Line] = []
    for number, line in enumerate(lines, start=1):
        text = " ".join(re.sub(r"(^|\s)#.*", "", line).split())
        if not text.isprintable():
            raise DatasetError(f"{path}, line {number} cannot be printed: {text!a}")
        if text:
            parsed.append(_parsed(text, len(parsed), f"{path}, line {number}"))
    try:
        return _table(parsed, path)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


class _Line(NamedTuple):
    name: str
    value: int
    color: Color | None
    ignored: bool


def _parsed(text: str, position: int, place: str) -> _Line:
    match = _LINE.fullmatch(text)
    if match and re.search(r"\s\d+\s", match["plain"] or ""):
        match = None  # as in "unlabelled 4 ignored", whose last word is misspelt
    numbers = [int(word) for word in match["numbers"].split()] if match else []
    if match is None or len(numbers) not in {0, 1, 3, 4} or max(numbers, default=0) > 255:
        raise DatasetError(
            f"{place}: expected NAME, NAME VALUE, NAME R G B or NAME VALUE R G B, separated by "
            f"spaces, with numbers from 0 to 255, and perhaps '{IGNORE_WORD}' at the end, got "
            f"{text!r}; quote a name that contains a number or a comma of its own"
        )
    value = numbers[0] if len(numbers) in {1, 4} else position
    color = (numbers[-3], numbers[-2], numbers[-1]) if len(numbers) >= 3 else None
    return _Line(match["quoted"] or match["plain"], value, color, match["ignored"] is not None)


def _table(lines: list[_Line], path: Path) -> LabelTable:
    given = [line.color for line in lines if line.color]
    check_unique("colours", given)
    colors = distinct_colors(set(given))
    return label_table(
        [
            ClassLabel(
                line.name,
                line.color or next(colors),
                IGNORE_INDEX if line.ignored else -1,
                line.value,
            )
            for line in lines
            if line.color or not line.ignored
        ],
        # An ignored class without a colour has no row: RGB files never hold an invented colour.
        ignore_values=[line.value for line in lines if line.ignored and not line.color],
        name=str(path),
        hint=f"the line 'unlabelled {{value}} {IGNORE_WORD}' in it ignores the value {{value}}, a "
        "line 'NAME {value}' makes a class of it",
    )
