"""Measures pipelines in turns."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ddrnet.benchmark.peak_memory import peak_mib
from ddrnet.benchmark.pipelines import Pipeline, Way
from ddrnet.benchmark.subject import Subject
from ddrnet.data.decoding import decode_image
from ddrnet.data.street_dataset import SyntheticStreets
from ddrnet.errors import DDRNetError
from ddrnet.files import StrPath, png_bytes
from ddrnet.network import DDRNet
from ddrnet.weights.row import Metric

logger = logging.getLogger(__name__)

STEPS = ("network", "labels", "end_to_end")
"""The network alone, from prepared images to logits at stride 8 (on a CPU, normalisation is a part
of the predictor's network); labels from logits, by upsampling and argmax; and the whole way from an
image file to a label file."""

PROCESSOR = "processor"
"""The time that all threads of this process work from file to file. Other work on the machine
changes it less than it changes the time by the clock."""

_STREET_SEED = 2101_06085
"""Base seed of the street, which no weights were trained on."""


class Times(NamedTuple):
    """Milliseconds of repeated calls, in the order of the calls."""

    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.milliseconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The values that a quarter and three quarters of the calls stay below."""
        if len(self.milliseconds) < 2:
            return self.milliseconds[0], self.milliseconds[0]
        lower, _, upper = statistics.quantiles(self.milliseconds, n=4, method="inclusive")
        return lower, upper


@dataclass(frozen=True)
class Plan:
    """What to measure: all combinations of models, sizes, threads and ways.

    Attributes:
        subjects: The models.
        sizes: Heights and widths of the picture, in pixels.
        ways: The ways to run a model; the plain pipeline is always measured too.
        threads: Numbers of threads that torch uses on the CPU.
        device: Where to compute.
        repeats: Calls of each step of each way.
        image: The picture, resized to each size; by default a rendered street.
    """

    subjects: Sequence[Subject]
    sizes: Sequence[tuple[int, int]]
    ways: Sequence[Way]
    threads: Sequence[int]
    device: torch.device
    repeats: int
    image: StrPath | None = None


@dataclass(frozen=True)
class Row:
    """One way to run one model at one size.

    Attributes:
        model: The name as given.
        weights: "model.tag", the path, or RANDOM.
        published: The published mIoU of the weights at this size, or None.
        size: Height and width of the image, in pixels.
        threads: Threads that torch uses on the CPU.
        way: The pipeline.
        batch_norms: The number of BatchNorm layers that are computed; None if unknown.
        first_seconds: Seconds of the first call, which compiles if that was asked for.
        times: Step, or `PROCESSOR`, -> times.
        times_faster: The median from file to file of the plain pipeline, divided by this one's.
        different: The share of pixels whose label differs from the plain pipeline's, 0-1.
        peak_mib: Peak memory of a process of its own; None if it was not measured.
    """

    model: str
    weights: str
    published: Metric | None
    size: tuple[int, int]
    threads: int
    way: Way
    batch_norms: int | None
    first_seconds: float
    times: dict[str, Times]
    times_faster: float
    different: float
    peak_mib: float | None


def measure(plan: Plan) -> Iterator[Row]:
    """Yield the rows of a plan as they are measured.

    The ways take turns in every repetition, so that other work on the machine meets all of them.

    Raises:
        ValueError: If a size is too small, the image cannot be read or the model is not for RGB.
        DDRNetError: If BatchNorm was not folded, or memory could not be measured.
        Exception: The errors of loading a model.
    """
    threads_before = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="ddrnet-benchmark-") as folder:
        pictures = {size: _picture(Path(folder), size, plan.image) for size in plan.sizes}
        try:
            for subject in plan.subjects:
                model = subject.load()
                for size, picture in pictures.items():
                    for threads in plan.threads:
                        torch.set_num_threads(threads)
                        logger.info("%s, %d x %d, threads: %d", subject.name, *size, threads)
                        yield from _Group(plan, subject, model, picture, size, threads).rows()
        finally:
            torch.set_num_threads(threads_before)


class Duration(NamedTuple):
    """Milliseconds by the clock, and those that the threads of this process worked."""

    wall: float
    processor: float


def time_call(call: Callable[[], Any], device: torch.device) -> Duration:
    """Return the time of a call, until the device has done its work.

    On CUDA, events on the device mark the beginning and the end.
    """
    if device.type == "cuda":
        new_event: Any = torch.cuda.Event
        start, end = new_event(enable_timing=True), new_event(enable_timing=True)
        torch.cuda.synchronize(device)
        start.record()
    started, worked = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        end.record()
        end.synchronize()
    elif device.type != "cpu":
        torch.accelerator.synchronize(device)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    wall = float(start.elapsed_time(end)) if device.type == "cuda" else 1000 * seconds
    return Duration(wall, 1000 * work)


class _Group:
    """The ways that take turns: one model, one size, one number of threads."""

    def __init__(
        self,
        plan: Plan,
        subject: Subject,
        model: DDRNet,
        picture: Path,
        size: tuple[int, int],
        threads: int,
    ) -> None:
        self.plan = plan
        self.subject = subject
        self.weights = subject.weights(model)
        self.picture = picture
        self.size = size
        self.threads = threads
        ways = dict.fromkeys([Way(), *plan.ways])
        self.pipelines = {way: way.pipeline(model, plan.device) for way in ways}
        self._check_folding()

    def _check_folding(self) -> None:
        """Raise if a predictor has as many BatchNorm layers as the plain network."""
        plain = self.pipelines[Way()].batch_norms
        for way, pipeline in self.pipelines.items():
            if way != Way() and pipeline.batch_norms == plain:
                raise DDRNetError(
                    f"{self.subject.name}, {way}: BatchNorm was not folded, {plain} layers remain"
                )

    def rows(self) -> Iterator[Row]:
        """Warm up, measure each step in turns, compare the label files, measure memory."""
        first = {way: self._first_call(way) for way in self.pipelines}
        durations = {step: self._in_turns(step) for step in STEPS}
        times = {
            way: {
                **{step: Times(tuple(d.wall for d in durations[step][way])) for step in STEPS},
                PROCESSOR: Times(tuple(d.processor for d in durations["end_to_end"][way])),
            }
            for way in self.pipelines
        }
        labels = {way: np.asarray(Image.open(self._file(way))) for way in self.pipelines}
        plain = Way()
        for way, pipeline in self.pipelines.items():
            yield Row(
                model=self.subject.name,
                weights=self.weights,
                published=self.subject.published(self.size),
                size=self.size,
                threads=self.threads,
                way=way,
                batch_norms=pipeline.batch_norms,
                first_seconds=first[way],
                times=times[way],
                times_faster=times[plain]["end_to_end"].median / times[way]["end_to_end"].median,
                different=float((labels[way] != labels[plain]).mean()),
                peak_mib=peak_mib(self.subject, way, self.picture, self.plan.device, self.threads),
            )

    def _file(self, way: Way) -> Path:
        return self.picture.with_name(f"{way}.png")

    def _first_call(self, way: Way) -> float:
        """Return the seconds of the first call of a pipeline, then warm it up with a second one."""
        segment = partial(self.pipelines[way].segment, self.picture, self._file(way))
        seconds = time_call(segment, self.plan.device).wall / 1000
        segment()
        return seconds

    def _in_turns(self, step: str) -> dict[Way, list[Duration]]:
        """Return the times of one step of each way."""
        calls = {way: self._call(step, way) for way in self.pipelines}
        found: dict[Way, list[Duration]] = {way: [] for way in calls}
        for _ in range(self.plan.repeats):
            for way, call in calls.items():
                found[way].append(time_call(call, self.plan.device))
        return found

    def _call(self, step: str, way: Way) -> Callable[[], Any]:
        """Return a call of one step, on inputs that lie ready; it has been called once."""
        pipeline: Pipeline = self.pipelines[way]
        if step == "end_to_end":
            return partial(pipeline.segment, self.picture, self._file(way))
        prepared = pipeline.prepared(self.picture)
        logits = pipeline.logits(prepared)
        if step == "network":
            return partial(pipeline.logits, prepared)
        pipeline.labels(logits, self.size)
        return partial(pipeline.labels, logits, self.size)


def _picture(folder: Path, size: tuple[int, int], image: StrPath | None) -> Path:
    """Write the picture as a PNG of a size."""
    height, width = size
    if image is None:
        pixels = SyntheticStreets(1, size, seed=_STREET_SEED)[0][0]  # (3, H, W)
    else:
        pixels = decode_image(image)
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    place = folder / f"{height}x{width}"
    place.mkdir()
    path = place / "image.png"
    path.write_bytes(png_bytes(picture.resize((width, height), Image.Resampling.LANCZOS)))
    return path
