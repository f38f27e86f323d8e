"""The weights table: one row per public checkpoint, a file per origin. Loads no torch."""

from __future__ import annotations

from ddrnet.weights import mmseg, official, shipped, supergradients
from ddrnet.weights.row import WeightsRow

ROWS: tuple[WeightsRow, ...] = (
    *official.ROWS,
    *mmseg.ROWS,
    *supergradients.ROWS,
    *shipped.ROWS,
)
"""Every registered checkpoint."""

DEFAULT_TAGS = {
    "ddrnet_23_nano": "camvid",
    "ddrnet_23_slim": "cityscapes",
    "ddrnet_23": "cityscapes",
    "ddrnet_39": "cityscapes_sg",
}
"""Model -> the tag that `pretrained=True` loads."""


def rows_of(model: str) -> tuple[WeightsRow, ...]:
    """Return the rows of a model; empty if it has no checkpoints."""
    return tuple(row for row in ROWS if row.model == model)
