"""The images that the value ranges of a quantised network are taken from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddrnet.predictor.exported.file_engine import as_bytes
from ddrnet.predictor.sources import Pending, find_sources, images_of
from ddrnet.predictor.tta import resized

MOST_IMAGES = 64
"""Images that are used at most."""

_FEW_IMAGES = 16
"""Fewer images than this miss values that other images reach."""

logger = logging.getLogger(__name__)


class CalibrationImages:
    """Some of a user's images as a graph takes them; each iteration reads them again.

    Args:
        sources: What `Predictor.stream` takes. Of more than `MOST_IMAGES` images, as many are
            taken at even distances. Videos and animations give their first frame.
        channels: Channels that the graph reads.
        size: Height and width that the graph takes; None for any, and images keep theirs.
        batch: Images per call of the graph: each image is repeated so often; None for one.

    Raises:
        ValueError: If there is no image, or a folder or pattern has none.
        OSError: If a folder cannot be read.
    """

    def __init__(
        self, sources: Any, channels: int, size: tuple[int, int] | None, batch: int | None
    ) -> None:
        found = list(find_sources(sources))
        for source in found:
            if isinstance(source.origin, Exception):
                raise source.origin
        if not found:
            raise ValueError("there is no image to calibrate with")
        if len(found) < _FEW_IMAGES:
            logger.warning("few images calibrate: %d; %d to 64 are better", len(found), _FEW_IMAGES)
        places = np.linspace(0, len(found) - 1, min(len(found), MOST_IMAGES)).round()
        self._sources = [found[int(place)] for place in places]
        self._channels, self._size, self._batch = channels, size, batch or 1

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield each image, (N, H, W, C).

        Raises:
            ValueError: If an image cannot be read; OSError and TypeError likewise.
        """
        for source in self._sources:
            for pending in islice(images_of(source), 1):
                yield self._read(pending)

    def _read(self, pending: Pending) -> NDArray[np.uint8]:
        pixels = pending.read(self._channels)[None]  # (1, C, H, W)
        seen = as_bytes(resized(pixels, self._size or pixels.shape[2:]), self._channels)
        return seen.permute(0, 2, 3, 1).repeat(self._batch, 1, 1, 1).contiguous().numpy()
