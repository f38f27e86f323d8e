"""Overlaps reading, computing and whatever the caller does with the results."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from torch import OutOfMemoryError, Tensor

from ddrnet.errors import DDRNetError, PredictionError
from ddrnet.predictor.segmentation import Segmentation
from ddrnet.predictor.sources import Pending

AHEAD = 2
"""Results that wait for the caller, and images that are read ahead."""

READERS = AHEAD + 2
"""The most images that are read at a time: those that wait, and one in each thread beside them."""

COMPUTING = 2
"""Batches that are computed at a time."""

LONGEST_WAIT = 5.0
"""Seconds that closing waits for sources that give nothing, such as a silent camera."""

FAILURES = (OSError, ValueError, TypeError, ImportError, DDRNetError)
"""Errors that concern one image, like those of memory; the other images are still segmented."""

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
        segment: Called in two threads, so that the labels of one batch are computed beside the
            network of the next.
        channels: Channels that the model reads.
        batch_pixels: Consecutive images of one size are segmented together while they have no more
            pixels than that.
    """
    readers: deque[threading.Thread] = deque(maxlen=READERS)  # older ones have ended
    reads = Ahead(_reads(pending, channels, readers), AHEAD)
    computing = ThreadPoolExecutor(COMPUTING, "ddrnet-compute")
    results = Ahead(_results(reads, segment, batch_pixels, computing), AHEAD)

    ended = threading.Event()

    def end() -> None:
        """Stop all threads, then wait for them together."""
        ended.set()
        reads.stop()
        results.stop()
        latest = time.monotonic() + LONGEST_WAIT
        for thread in (reads.thread, results.thread, *readers):
            thread.join(max(0.0, latest - time.monotonic()))
        computing.shutdown(cancel_futures=True)

    atexit.register(end)  # Python must not exit while a thread computes
    try:
        for batch in results:
            yield from batch.result()
        reads.check()
        results.check()
    finally:
        if not ended.is_set():  # else Python exits, and modules may be gone
            atexit.unregister(end)
            end()


class _End:
    """Follows the last item."""


class Ahead(Iterator[T], Generic[T]):
    """Iterates over items that a thread draws, so many before they are asked for.

    Attributes:
        thread: The thread. It is a daemon, so that one that waits for its items never keeps Python
            from exiting.

    Args:
        items: Drawn in the thread. After an error there the iteration ends, and `check` raises it.
        number: The most items that wait; the thread holds one more.
    """

    def __init__(self, items: Iterable[T], number: int) -> None:
        self._waiting: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._room = threading.Semaphore(number)
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self.thread = threading.Thread(
            target=self._draw, args=(items,), name="ddrnet-ahead", daemon=True
        )
        self.thread.start()

    def _draw(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._room.acquire()
                if self._stopped.is_set():
                    break
                self._waiting.put(item)
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:  # for the thread that asks for items
            self._failure = error
        self._waiting.put(_End())

    def __next__(self) -> T:
        item = self._waiting.get()
        if self._stopped.is_set() or isinstance(item, _End):
            self._waiting.put(_End())  # for the next call
            raise StopIteration
        self._room.release()
        return item

    def has_next(self) -> bool:
        """Whether an item, or the end, is there already."""
        return not self._waiting.empty()

    def check(self) -> None:
        """Raise the error that ended the iteration, if there was one."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the iteration, also for a thread that waits for an item.

        The drawing thread ends when it gets its next item.
        """
        self._stopped.set()
        self._room.release()
        self._waiting.put(_End())


def _reads(
    pending: Iterable[Pending], channels: int, readers: deque[threading.Thread]
) -> Generator[tuple[Pending, Future[Read]], None, None]:
    """Start to read each image in a thread of its own; append the threads to `readers`.

    The threads of an executor would keep Python from exiting while a download hangs.
    """

    def read(item: Pending, future: Future[Read]) -> None:
        started = time.perf_counter()
        try:
            pixels = item.read(channels)
        except BaseException as error:  # for the thread that asks for the image
            future.set_exception(error)
            return
        milliseconds = item.milliseconds + 1000 * (time.perf_counter() - started)
        future.set_result(Read(item, pixels, milliseconds))

    try:
        for item in pending:
            future: Future[Read] = Future()
            thread = threading.Thread(
                target=read, args=(item, future), name="ddrnet-read", daemon=True
            )
            thread.start()
            readers.append(thread)
            yield item, future
    finally:
        if isinstance(pending, Generator):
            pending.close()


def _results(
    reads: Ahead[tuple[Pending, Future[Read]]],
    segment: Segment,
    batch_pixels: int,
    computing: ThreadPoolExecutor,
) -> Generator[Future[list[Segmentation | PredictionError]], None, None]:
    """Yield the results of each batch; images of one size that wait are segmented together."""
    batch: list[Read] = []
    for pending, future in reads:
        error = future.exception()
        if error is not None and not isinstance(error, FAILURES) and not _is_of_memory(error):
            raise error
        image = None if error is not None else future.result()
        if batch and (image is None or image.pixels.shape != batch[0].pixels.shape):
            yield computing.submit(_segmented, batch, segment)
            batch = []
        if image is not None:
            batch.append(image)
            is_full = (len(batch) + 1) * image.pixels[0].numel() > batch_pixels
            if is_full or not reads.has_next():  # a camera gives its next frame much later
                yield computing.submit(_segmented, batch, segment)
                batch = []
        elif error is not None:
            yield computing.submit(lambda failed: [failed], _failed(pending, error))
    if batch:
        yield computing.submit(_segmented, batch, segment)


def _segmented(batch: Sequence[Read], segment: Segment) -> list[Segmentation | PredictionError]:
    """Segment a batch; if that fails, each image alone."""
    try:
        return list(segment(batch))
    except (*FAILURES, MemoryError, RuntimeError) as error:
        if not isinstance(error, FAILURES) and not _is_of_memory(error):
            raise
        if len(batch) == 1:
            return [_failed(batch[0].pending, error)]
    return [result for image in batch for result in _segmented([image], segment)]


def _is_of_memory(error: BaseException) -> bool:
    """Return whether memory did not suffice; on a CPU torch raises a bare RuntimeError."""
    is_of_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return is_of_cpu or isinstance(error, MemoryError | OutOfMemoryError)


def _failed(pending: Pending, error: BaseException) -> PredictionError:
    """Return the error of an image; its message names the source."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if _is_of_memory(error):
        text = f"memory does not suffice; windows need less (window=, --window): {text}"
    place = pending.source or "image in memory"
    if pending.frame is not None:
        place = f"{place}, frame {pending.frame}"
    failed = PredictionError(
        text if place in text else f"{place}: {text}", pending.source, pending.frame
    )
    failed.__cause__ = error
    return failed
