"""Shows measurements as tables and notes, and keeps them as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ddrnet.benchmark.conditions import Conditions
from ddrnet.benchmark.measuring import PROCESSOR, STEPS, Row, Times
from ddrnet.benchmark.pipelines import PLAIN, Way
from ddrnet.files import StrPath
from ddrnet.weights.row import Metric

HEADER = (
    *("model", "size", "threads", "way", "network ms", "labels ms", "file to file ms"),
    *("times faster", "processor ms", "pixels that differ", "peak MiB"),
)

NUMBERS = HEADER[4:]
"""The columns of numbers."""


def cells(row: Row) -> tuple[str, ...]:
    """Return a row of the table; times are a median and, in brackets, the quartiles."""
    height, width = row.size
    random = " (RANDOM WEIGHTS)" if row.weights == "RANDOM" else ""
    return (
        f"{row.model}{random}",
        f"{height} x {width}",
        str(row.threads),
        str(row.way),
        *(_milliseconds(row.times[step]) for step in STEPS),
        f"{row.times_faster:.2f}",
        _milliseconds(row.times[PROCESSOR]),
        "0" if row.different == 0 else f"{row.different:.1e}",
        "not measured" if row.peak_mib is None else f"{row.peak_mib:.0f}",
    )


def notes(rows: Sequence[Row], conditions: Conditions) -> list[str]:
    """Return the conditions, one note per model about weights and BatchNorm, and long compiles."""
    found = [str(conditions)]
    for name in dict.fromkeys(row.model for row in rows):
        same = [row for row in rows if row.model == name]
        weights = same[0].weights
        loaded = (
            "RANDOM WEIGHTS, labels mean nothing"
            if weights == "RANDOM"
            else f"weights {weights}, loaded strictly"
        )
        plain = next((row.batch_norms for row in same if row.way.backend == PLAIN), None)
        folded = {row.batch_norms for row in same if row.way.backend != PLAIN} - {None}
        left = ", ".join(map(str, sorted(folded, key=str))) or "unknown"
        found.append(f"{name}: {loaded}; BatchNorm layers: {plain} in plain, {left} after folding")
    found += [
        f"{row.model}, {row.size[0]} x {row.size[1]}, {row.threads} threads, {row.way}: the first "
        f"call took {row.first_seconds:.0f} s"
        for row in rows
        if row.way.compile
    ]
    if rows:
        count = len(rows[0].times["network"].milliseconds)
        found.append(f"each time: median (quartiles) of {count} calls, the ways in turns")
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = [HEADER, tuple("---" for _ in HEADER), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_json(rows: Sequence[Row], conditions: Conditions) -> str:
    """Return everything that was measured, every call included."""
    fields = [asdict(row) | {"way": row.way._asdict()} for row in rows]
    return json.dumps({"conditions": conditions._asdict(), "rows": fields}, indent=1) + "\n"


def read_rows(path: StrPath) -> list[Row]:
    """Return the rows of a file that `to_json` filled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file.
    """
    try:
        rows = json.loads(Path(path).read_text())["rows"]
        return [_row(**fields) for fields in rows]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is no JSON file of ddrnet benchmark ({type(error).__name__}: {error})"
        ) from error


def _row(
    *,
    published: dict[str, Any] | None,
    size: list[int],
    way: dict[str, Any],
    times: dict[str, list[list[float]]],
    **others: Any,
) -> Row:
    if published is not None:
        published["resolution"] = tuple(published["resolution"])
    return Row(
        published=None if published is None else Metric(**published),
        size=(size[0], size[1]),
        way=Way(**way),
        times={step: Times(tuple(times[step][0])) for step in (*STEPS, PROCESSOR)},
        **others,
    )


def _milliseconds(times: Times) -> str:
    lower, upper = times.quartiles
    digits = 0 if times.median >= 100 else 1
    return f"{times.median:.{digits}f} ({lower:.{digits}f}-{upper:.{digits}f})"
