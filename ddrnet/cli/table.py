"""Prints numbers: in aligned columns, as percentages, and in JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return a table as text: a line per row, columns two spaces apart.

    Args:
        header: The name of each column.
        rows: The cells, one per column.
        right: The columns to align at the right end, such as numbers.
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        ).rstrip()
        for line in lines
    )


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with two decimals, NaN as "-"."""
    return "-" if math.isnan(fraction) else f"{fraction:.2%}"


def json_number(value: float) -> float | None:
    """Return a number for JSON, which has no NaN: None."""
    return None if math.isnan(value) else value
