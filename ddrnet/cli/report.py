"""Prints the results of `ddrnet predict`: a table, a line per image, or JSON."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.labels import ClassLabel

if TYPE_CHECKING:
    from tqdm import tqdm

    from ddrnet.errors import PredictionError
    from ddrnet.predictor.segmentation import Segmentation

_GAP = "   "
_SHOWN = 4  # classes in the line of an image


def progress(total: int | None) -> tqdm[Any]:
    """Return a progress bar on the terminal; none for a single image."""
    from tqdm import tqdm

    return tqdm(total=total, unit="image", disable=True if total == 1 else None)


class Report:
    """Prints results to standard output and errors to standard error, beside a progress bar.

    Args:
        only: The names of the classes to print; None for all.
        as_json: Print a line of JSON for each image and error.
        single: There is one source; an image of it gets a table.
    """

    def __init__(self, only: Sequence[str] | None, *, as_json: bool, single: bool) -> None:
        self.only = only
        self.as_json = as_json
        self.single = single

    def result(self, result: Segmentation, files: dict[str, Path]) -> None:
        """Print the files and shares of an image."""
        from tqdm import tqdm

        shares = result.shares()
        if self.only is not None:
            shares = {name: shares.get(name, 0.0) for name in self.only}
        if self.as_json:
            line = json.dumps(_row(result, files, shares))
        else:
            frame = "" if result.frame is None else f", frame {result.frame}"
            line = result.source + frame
            if files:
                line += f" -> {files.get('overlay', next(iter(files.values())))}"
            line = printable(line)
            if self.single and not frame:
                shown = [c for c in result.classes if self.only is None or c.name in self.only]
                line += "\n" + shares_table([shares.get(c.name, 0.0) for c in shown], shown)
            else:
                line += _GAP + _largest(shares)
        tqdm.write(line, file=sys.stdout)

    def error(self, error: PredictionError) -> None:
        """Print the error of an image."""
        from tqdm import tqdm

        text = printable(" ".join(str(error).split()))
        if self.as_json:
            row = {"source": error.source, "frame": error.frame, "error": text}
            tqdm.write(json.dumps(row), file=sys.stdout)
        tqdm.write(f"ddrnet: error: {text}", file=sys.stderr)


def printable(text: str) -> str:
    """Return a text as one line that any terminal shows and that cannot steer a terminal.

    Names of files may hold line breaks, escape sequences and bytes that are no text.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shares_table(shares: Sequence[float], classes: Sequence[ClassLabel]) -> str:
    """Return a table of the share of every class, as wide as the terminal."""
    from ddrnet.visualize import percent

    names = max(len(label.name) for label in classes)
    cells = [
        f"{label.name:<{names}}  {percent(share):>6}"
        for label, share in zip(classes, shares, strict=True)
    ]
    columns = max(1, (shutil.get_terminal_size().columns - 1) // (len(cells[0]) + len(_GAP)))
    rows = math.ceil(len(cells) / columns)
    return "\n".join(_GAP + _GAP.join(cells[row::rows]) for row in range(rows))


def _row(result: Segmentation, files: dict[str, Path], shares: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"source": result.source}
    if result.frame is not None:
        row["frame"] = result.frame
    if result.time is not None:
        row["time"] = float(result.time)
    row |= {kind: str(path) for kind, path in files.items()}
    return row | {"shares": shares, "milliseconds": result.speed}


def _largest(shares: dict[str, float]) -> str:
    from ddrnet.visualize import percent

    largest = sorted(shares.items(), key=lambda pair: -pair[1])[:_SHOWN]
    return ", ".join(f"{name} {percent(share)}" for name, share in largest)
