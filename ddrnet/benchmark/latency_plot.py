"""Draws published accuracy over measured latency; needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ddrnet.benchmark.measuring import Row
from ddrnet.benchmark.pipelines import PLAIN
from ddrnet.errors import DDRNetError
from ddrnet.files import StrPath, open_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TEXT: dict[str, Any] = {"textcoords": "offset points", "xytext": (0, 7), "fontsize": 7}


def check_matplotlib() -> None:
    """Raise DDRNetError if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise DDRNetError('the plot needs matplotlib: pip install "ddrnet[plot]"')


def draw_latency(picture: StrPath, rows: Sequence[Row]) -> None:
    """Draw the published mIoU of models over the median latency from file to file.

    Hollow marks are the plain pipeline, filled ones the ways of the predictor. Models without a
    published mIoU at the measured size stand in a list below. There is a column for each number of
    threads.

    Args:
        picture: The PNG file to write.
        rows: The measurements.

    Raises:
        DDRNetError: If matplotlib is not installed.
        ValueError: If there is no row.
        OSError: If the picture cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    if not rows:
        raise ValueError("there is no measurement to draw")
    threads = sorted({row.threads for row in rows})
    names = list(dict.fromkeys(_label(row) for row in rows if row.published is None))
    heights = [4.0] * any(row.published for row in rows) + [0.2 + 0.4 * len(names)] * bool(names)
    size = (1.5 + 4 * len(threads), 1.2 + sum(heights))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(
        len(heights), len(threads), sharex=True, sharey="row", height_ratios=heights, squeeze=False
    )
    for column, number in zip(panels.T, threads, strict=True):
        _draw_rows(column[0], column[-1], [row for row in rows if row.threads == number], names)
        column[0].set_title(f"threads: {number}", fontsize=9)
        column[-1].set(xscale="log", xlabel="milliseconds from file to file")
        column[-1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        column[-1].xaxis.set_major_formatter("{x:g}")
        column[-1].xaxis.set_minor_formatter(NullFormatter())
    panels[0, 0].set_ylabel("published mIoU, percent")
    if names:
        panels[-1, 0].set_ylabel("not published")
        panels[-1, 0].set_yticks(range(len(names)), names, fontsize=7)
        panels[-1, 0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels.flat:
        axes.grid(alpha=0.3)
        axes.margins(x=0.2, y=0.15)
    figure.suptitle("hollow: plain pipeline; filled: Predictor", fontsize=9)
    with open_atomically(picture) as file:
        figure.savefig(file, format="png")


def _draw_rows(known: Axes, unknown: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Draw the rows of one number of threads; a line joins the ways of one model at one size."""
    for number, label in enumerate(dict.fromkeys(_label(row) for row in rows)):
        same = [row for row in rows if _label(row) == label]
        times = [row.times["end_to_end"].median for row in same]
        published, color = same[0].published, f"C{number % 10}"
        axes, height = unknown, float(names.index(label)) if published is None else 0.0
        if published is not None:
            axes, height = known, 100 * published.value
            text = f"{label}\n{published.data} {published.split}"
            axes.annotate(text, (min(times), height), color=color, **_TEXT)
        axes.plot(times, [height] * len(times), color=color, linewidth=0.8)
        for row, time in zip(same, times, strict=True):
            inside = "white" if row.way.backend == PLAIN else color
            axes.plot(time, height, "o", color=color, markerfacecolor=inside)


def _label(row: Row) -> str:
    """Return the name of one line in the picture."""
    random = "\nrandom weights" if row.weights == "RANDOM" else ""
    return f"{row.model}, {row.size[0]} x {row.size[1]}{random}"
