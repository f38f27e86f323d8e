import queue
import subprocess
import sys
import textwrap
import threading
import time
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

import ddrnet
from ddrnet import PredictionError
from ddrnet.predictor import stream
from ddrnet.predictor.sources import Pending
from ddrnet.predictor.stream import AHEAD, Ahead

CAMVID = "ddrnet_23_nano.camvid"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def predictor():
    return ddrnet.Predictor(CAMVID, device="cpu")


@pytest.fixture
def pictures():
    return [RNG.integers(0, 256, (40, 48 + 8 * (n % 2), 3), dtype=np.uint8) for n in range(6)]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("ddrnet")] == []


class CountingEngine:
    """Predicts the class that is the first byte of each image, and remembers the batches."""

    in_chans = 3

    def __init__(self, batch_pixels=1):
        self.classes = ddrnet.CAMVID.classes
        self.batch_pixels = batch_pixels
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        first = images[:, 0, 0, 0].long()
        if (first > 10).any():
            raise ValueError(f"no class {first.max()}")
        logits = torch.nn.functional.one_hot(first, 11).float()
        return logits[:, :, None, None].expand(-1, -1, images.shape[2] // 8, images.shape[3] // 8)


@pytest.fixture
def counting(predictor, monkeypatch):
    def use(**options):
        engine = CountingEngine(**options)
        monkeypatch.setattr(predictor, "engine", engine)
        return engine

    return use


def numbered(number, size=(40, 48)):
    return np.full((*size, 3), number, np.uint8)


def test_a_stream_gives_what_single_calls_give_in_order(predictor, pictures):
    results = list(predictor.stream(pictures))
    assert len(results) == len(pictures)
    for result, picture in zip(results, pictures, strict=True):
        assert np.array_equal(result.image, picture)
        assert np.array_equal(result.labels, predictor(picture).labels)


def test_slow_and_quick_readers_keep_the_order(predictor, counting, tmp_path):
    counting()
    for index in range(8):
        size = (640, 960) if index % 2 else (40, 48)
        Image.fromarray(numbered(index, size)).save(tmp_path / f"{index}.png")
    assert [result.labels[0, 0] for result in predictor.stream(tmp_path)] == list(range(8))


def test_failing_sources_give_errors_and_the_rest_goes_on(predictor, pictures, tmp_path):
    (tmp_path / "empty.png").touch()
    Image.fromarray(pictures[0]).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    five_channels = np.zeros((40, 48, 5), np.uint8)
    given = ["absent.png", tmp_path, five_channels, pictures[1], 3.5, torch.zeros(3, 40, 48)]
    given.append("http://[x/y.png")
    results = list(predictor.stream(given))
    assert [isinstance(result, PredictionError) for result in results] == [
        *(True, True, True, False),
        *(True, False, True, True, True),
    ]
    messages = [str(result) for result in results if isinstance(result, PredictionError)]
    for message, part in zip(
        messages,
        [
            "absent.png: No such file",
            "cut.png",
            "empty.png",
            "5 channels",
            "got float",
            "got torch.float32",
            "http://[x/y.png: Invalid IPv6",
        ],
        strict=True,
    ):
        assert part in message
    assert results[1].source == str(tmp_path / "cut.png")
    assert isinstance(results[0].__cause__, FileNotFoundError)
    with pytest.raises(PredictionError, match=r"absent\.png"):
        raise results[0]


@pytest.fixture
def all_waiting(monkeypatch):
    """The next image waits at any time, so that nothing but size and number ends a batch."""
    monkeypatch.setattr(Ahead, "has_next", lambda ahead: True)


def test_images_of_one_size_are_computed_together(predictor, counting, all_waiting):
    engine = counting(batch_pixels=3 * 40 * 48)
    given = [numbered(n) for n in range(4)] + [numbered(4, (40, 56)), numbered(5)]
    results = list(predictor.stream(given))
    assert [result.labels[0, 0] for result in results] == list(range(6))
    assert sorted(engine.batches) == [1, 1, 1, 3]  # two threads compute, in any order


def test_in_a_failing_batch_each_image_gets_its_own_result(predictor, counting, all_waiting):
    engine = counting(batch_pixels=1 << 20)
    results = list(predictor.stream([numbered(n) for n in (1, 77, 3)]))
    assert [isinstance(result, PredictionError) for result in results] == [False, True, False]
    assert "no class 77" in str(results[1])
    assert engine.batches == [3, 1, 1, 1]


def test_few_images_are_drawn_before_they_are_asked_for(predictor, counting):
    counting()
    drawn = []

    def pictures():
        for index in count():
            drawn.append(index)
            yield numbered(index % 11)

    results = predictor.stream(pictures())
    next(results)
    time.sleep(0.2)
    waiting = len(drawn)
    time.sleep(0.2)
    assert len(drawn) == waiting <= 1 + 2 * (AHEAD + 1)  # the caller's, and those of two threads
    results.close()


@pytest.mark.parametrize("batch_pixels", [1, 1 << 20])
def test_an_iterator_may_wait_for_the_result_of_its_last_image(predictor, counting, batch_pixels):
    counting(batch_pixels=batch_pixels)
    seen = queue.Queue()

    def frames():
        for index in range(4):
            yield numbered(index)
            assert seen.get(timeout=60) == index

    for result in predictor.stream(frames()):
        seen.put(result.labels[0, 0])


def test_an_error_of_the_iterator_itself_reaches_the_caller(predictor, counting):
    counting()

    def pictures():
        yield numbered(1)
        raise ZeroDivisionError("the caller's own")

    results = predictor.stream(pictures())
    assert next(results).labels[0, 0] == 1
    with pytest.raises(ZeroDivisionError, match="the caller's own"):
        next(results)


@pytest.mark.parametrize("allocate", [torch.empty, bytearray])
def test_an_image_that_memory_cannot_hold_fails_alone(predictor, counting, monkeypatch, allocate):
    engine = counting()

    def compute(images):
        return allocate(1 << 60) if images.shape[2] == 48 else engine(images)

    monkeypatch.setattr(predictor, "_logits", compute)
    first, second, third = predictor.stream([numbered(1), numbered(2, (48, 48)), numbered(3)])
    assert (first.labels[0, 0], third.labels[0, 0]) == (1, 3)
    assert "memory does not suffice; windows need less (window=, --window): " in str(second)


def test_an_error_of_the_library_itself_is_not_hidden(predictor, monkeypatch):
    monkeypatch.setattr(predictor, "_segment", lambda reads: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(predictor.stream([numbered(1)]))


def test_closing_early_closes_the_iterator(predictor, counting):
    counting()
    closed = threading.Event()

    def pictures():
        try:
            for index in count():
                yield numbered(index % 11)
        finally:
            closed.set()

    results = predictor.stream(pictures())
    next(results)
    results.close()
    assert closed.is_set()


def test_closing_waits_no_longer_for_a_download_that_hangs(predictor, monkeypatch):
    monkeypatch.setattr(stream, "LONGEST_WAIT", 0.1)
    arrived = threading.Event()

    def read(channels):
        assert arrived.wait(60)
        return torch.zeros(channels, 40, 48, dtype=torch.uint8)

    quick = Pending("", lambda channels: torch.zeros(3, 40, 48, dtype=torch.uint8))
    results = predictor.stream_pending([quick, *[Pending("", read)] * 3])
    next(results)
    results.close()
    waiting = [thread for thread in threading.enumerate() if thread.name.startswith("ddrnet")]
    assert waiting
    arrived.set()
    for thread in waiting:
        thread.join(60)


@pytest.mark.slow
def test_a_stream_that_is_left_open_ends_with_python():
    code = """
        import atexit, threading
        import numpy as np
        import ddrnet

        @atexit.register
        def show():
            print([t.name for t in threading.enumerate() if t.name.startswith("ddrnet")])

        predictor = ddrnet.Predictor("ddrnet_23_nano.camvid", device="cpu")
        results = predictor.stream([np.zeros((40, 48, 3), np.uint8)] * 1000)
        next(results)
        """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_every_below_one_is_refused(predictor, tmp_path):
    with pytest.raises(ValueError, match="every is 1 for all frames"):
        predictor.stream(tmp_path, every=0)


def test_ahead_gives_all_items_and_then_nothing():
    items = Ahead(range(100), 2)
    assert list(items) == list(range(100))
    assert list(items) == []
    items.check()


def test_a_stopped_ahead_gives_nothing():
    items = Ahead(iter(range(100)), 2)
    assert next(items) == 0
    items.stop()
    assert list(items) == []
    items.thread.join(60)


def test_stopping_wakes_a_thread_that_waits_for_an_item():
    last = threading.Event()
    inner = Ahead(iter(lambda: last.wait(60), True), 2)  # gives nothing
    outer = Ahead(inner, 2)
    inner.stop()
    assert list(outer) == []
    last.set()
    inner.thread.join(60)


def test_none_is_no_end():
    assert list(Ahead([None, 1, None], 2)) == [None, 1, None]
