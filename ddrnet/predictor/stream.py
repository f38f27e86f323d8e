"""Overlaps reading, computing and whatever the caller does with the results."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Generic, NamedTuple, TypeVar

from torch import OutOfMemoryError, Tensor

from ddrnet.errors import DDRNetError, PredictionError
from ddrnet.predictor.segmentation import Segmentation
from ddrnet.predictor.sources import Pending

AHEAD = 2
"""Results that wait for the caller, and images that wait to be read."""

READERS = min(4, os.cpu_count() or 1)
"""Threads that decode images."""

LONGEST_WAIT = 5.0
"""Seconds that closing waits for a source that gives nothing, such as a silent camera."""

FAILURES = (OSError, ValueError, TypeError, ImportError, DDRNetError, OutOfMemoryError)
"""Errors that concern one image; the other images are still segmented."""

T = TypeVar("T")


class Read(NamedTuple):
    """An image in memory.

    Attributes:
        pending: Where it comes from.
        pixels: (C, H, W) uint8.
        milliseconds: The time that reading took.
    """

    pending: Pending
    pixels: Tensor
    milliseconds: float


Segment = Callable[[Sequence[Read]], list[Segmentation]]
"""Segments images of one size together."""


def stream(
    pending: Iterable[Pending], segment: Segment, channels: int, batch_pixels: int
) -> Generator[Segmentation | PredictionError, None, None]:
    """Yield one result for each image, in order, while later images are read and computed.

    Args:
        pending: The images. A thread draws them.
        segment: Called in another thread.
        channels: Channels that the model reads.
        batch_pixels: Consecutive images of one size are segmented together while they have no more
            pixels than that.
    """
    with (
        ThreadPoolExecutor(READERS, "ddrnet-read") as pool,
        closing(Ahead(pending, AHEAD)) as drawn,
    ):
        results = _results(_reads(drawn, pool, channels), segment, batch_pixels)
        with closing(Ahead(results, AHEAD)) as done:
            yield from done
            drawn.check()
            done.check()


class _End:
    """Follows the last item."""


class Ahead(Iterator[T], Generic[T]):
    """Iterates over items that a thread draws, so many before they are asked for.

    Args:
        items: Drawn in the thread. After an error there the iteration ends, and `check` raises it.
        number: The most items that wait, at least 2.
    """

    def __init__(self, items: Iterable[T], number: int) -> None:
        self._waiting: queue.Queue[T | _End] = queue.Queue(number)
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._draw, args=(items,), name="ddrnet-ahead", daemon=True
        )
        self._thread.start()

    def _draw(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._waiting.put(item)
                if self._closed.is_set():
                    break
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:  # for the thread that asks for items
            self._failure = error
        self._waiting.put(_End())

    def __next__(self) -> T:
        item = _End() if self._closed.is_set() else self._waiting.get()
        if isinstance(item, _End):
            self._closed.set()
            raise StopIteration
        return item

    def check(self) -> None:
        """Raise the error that ended the iteration, if there was one."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread; one that waits for its items ends when it gets the next one."""
        self._closed.set()
        while not self._waiting.empty():
            self._waiting.get()
        # Now the thread has room for the item that it holds and for the end.
        self._thread.join(LONGEST_WAIT)


def _reads(
    pending: Iterable[Pending], pool: ThreadPoolExecutor, channels: int
) -> Iterator[tuple[Pending, Future[Read]]]:
    """Yield images in order, with those that follow already being read."""

    def read(item: Pending) -> Read:
        started = time.perf_counter()
        pixels = item.read(channels)
        return Read(item, pixels, item.milliseconds + 1000 * (time.perf_counter() - started))

    waiting: deque[tuple[Pending, Future[Read]]] = deque()
    for item in pending:
        waiting.append((item, pool.submit(read, item)))
        if len(waiting) > READERS:
            yield waiting.popleft()
    yield from waiting


def _results(
    reads: Iterable[tuple[Pending, Future[Read]]], segment: Segment, batch_pixels: int
) -> Iterator[Segmentation | PredictionError]:
    """Yield the result of each image; images of one size are segmented together."""
    batch: list[Read] = []
    for pending, future in reads:
        error = future.exception()
        if error is not None and not isinstance(error, FAILURES):
            raise error
        image = None if error is not None else future.result()
        if batch and (
            image is None
            or image.pixels.shape != batch[0].pixels.shape
            or (len(batch) + 1) * image.pixels[0].numel() > batch_pixels
        ):
            yield from _segmented(batch, segment)
            batch = []
        if image is not None:
            batch.append(image)
        elif error is not None:
            yield _failed(pending, error)
    if batch:
        yield from _segmented(batch, segment)


def _segmented(batch: Sequence[Read], segment: Segment) -> list[Segmentation | PredictionError]:
    """Segment a batch; if that fails, each image alone."""
    try:
        return list(segment(batch))
    except FAILURES as error:
        if len(batch) == 1:
            return [_failed(batch[0].pending, error)]
    return [result for image in batch for result in _segmented([image], segment)]


def _failed(pending: Pending, error: BaseException) -> PredictionError:
    """Return the error of an image; its message names the source."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    place = pending.source or "image in memory"
    if pending.frame is not None:
        place = f"{place}, frame {pending.frame}"
    failed = PredictionError(
        text if place in text else f"{place}: {text}", pending.source, pending.frame
    )
    failed.__cause__ = error
    return failed
