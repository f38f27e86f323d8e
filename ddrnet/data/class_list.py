"""`classes.txt`: the classes of own data, one a line."""

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
    distinct_colors,
    label_table,
)

CLASS_LIST = "classes.txt"

IGNORE_WORD = "ignore"
"""The last word of a line whose class is ignored."""

_LINE = re.compile(
    r"""(?:"(?P<quoted>[^"]+)"|(?P<plain>[^"].*?))   # the name
    (?P<numbers>(?:\s+\d+)*)                         # VALUE, R G B or VALUE R G B
    (?P<ignored>\s+ignore)?""",
    re.VERBOSE,
)


def read_class_list(path: Path) -> LabelTable:
    """Read the classes of label files.

    A line is `NAME`, `NAME VALUE`, `NAME R G B` or `NAME VALUE R G B`, and may end in the word
    `ignore`. VALUE is the number of the class in grey and palette label files; by default it is the
    position of the line, counted from 0 with ignored classes. R G B is its colour in RGB label
    files and in pictures. Pixels of an ignored class neither train nor count. Names may contain
    spaces; a name that ends in a number stands in quotes. Empty lines and what follows a `#` are
    comments.

        # name [value] [red green blue] [ignore]
        water
        land
        "route 66"
        unlabelled 4 ignore

    Raises:
        DatasetError: If the file is missing or a line cannot be understood; the message names the
            line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is missing: write the name of each class on its own line, in the order of "
            "the values in the label files, such as 'water', 'land', 'unlabelled 4 ignore'"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not text in UTF-8: {error}") from error
    parsed: list[_Line] = []
    for number, line in enumerate(lines, start=1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text:
            parsed.append(_parsed(text, len(parsed), f"{path}, line {number}"))
    colors = distinct_colors({line.color for line in parsed if line.color})
    try:
        return label_table(
            [
                ClassLabel(
                    line.name,
                    line.color or next(colors),
                    IGNORE_INDEX if line.ignored else -1,
                    line.value,
                )
                for line in parsed
                if line.color or not line.ignored
            ],
            ignore_values=[line.value for line in parsed if line.ignored and not line.color],
            name=str(path),
            hint=f"a line such as 'unlabelled 7 {IGNORE_WORD}' in it ignores the value 7, a line "
            "such as 'water 7' makes a class of it",
        )
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


class _Line(NamedTuple):
    name: str
    value: int
    color: Color | None
    ignored: bool


def _parsed(text: str, position: int, place: str) -> _Line:
    match = _LINE.fullmatch(text)
    numbers = [int(word) for word in match["numbers"].split()] if match else []
    if match is None or len(numbers) not in {0, 1, 3, 4} or max(numbers, default=0) > 255:
        raise DatasetError(
            f"{place}: expected NAME, NAME VALUE, NAME R G B or NAME VALUE R G B with numbers from "
            f"0 to 255, and perhaps '{IGNORE_WORD}' at the end, got {text!r}; a name that ends in "
            "a number stands in quotes"
        )
    value = numbers[0] if len(numbers) in {1, 4} else position
    color = (numbers[-3], numbers[-2], numbers[-1]) if len(numbers) >= 3 else None
    return _Line(match["quoted"] or match["plain"], value, color, match["ignored"] is not None)
