"""Draw the picture of the README: `python docs/street_picture.py`.

A rendered street beside its segmentation by the weights that ship for rendered streets. The street
was not trained on.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import ddrnet
from ddrnet.visualize import side_by_side

PICTURE = Path(__file__).with_name("street.jpg")

_SEED = 2101_06087
"""Base seed of the street."""


def main() -> None:
    """Render, segment and draw the street."""
    image, _ = ddrnet.data.SyntheticStreets(1, (512, 1024), seed=_SEED)[0]  # (3, 512, 1024)
    result = ddrnet.Predictor("ddrnet_23_nano.synthetic", device="cpu")(image)
    both = side_by_side([Image.fromarray(result.image), result.overlay()])
    both.resize((both.width // 2, both.height // 2)).save(PICTURE, quality=90, optimize=True)


if __name__ == "__main__":
    main()
