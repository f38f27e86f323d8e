"""Draw the curve of training logs: python plot.py PICTURE LOG...; needs matplotlib.

Loss above, mean IoU below, over epochs, a colour per log.
"""

import json
import sys
from pathlib import Path

from matplotlib import pyplot


def main() -> None:
    """Read the logs and write the picture."""
    picture, *logs = map(Path, sys.argv[1:])
    figure, (losses, scores) = pyplot.subplots(2, sharex=True, figsize=(7, 5), dpi=110)
    for log in logs:
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        steps = [row for row in rows if "loss" in row]
        epochs = {row["step"]: row["epoch"] for row in steps}
        line, *_ = losses.plot(
            [row["epoch"] for row in steps],
            smoothed([row["loss"] for row in steps]),
            label=log.stem,
        )
        valid = [row for row in rows if "mean_iou" in row]
        scores.plot(
            [epochs.get(row["step"], max(epochs.values())) for row in valid],
            [row["mean_iou"] for row in valid],
            "o-",
            color=line.get_color(),
            markersize=3,
        )
    losses.set_ylabel("training loss")
    losses.set_yscale("log")
    losses.legend()
    scores.set_ylabel("validation mean IoU")
    scores.set_xlabel("epoch")
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture)


def smoothed(values: list[float], share: float = 0.8) -> list[float]:
    """Return the running average, each value counting 1 - `share`."""
    average, result = values[0], []
    for value in values:
        average = share * average + (1 - share) * value
        result.append(average)
    return result


if __name__ == "__main__":
    main()
