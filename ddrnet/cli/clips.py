"""Writes the video of `ddrnet predict --out clip.mp4`."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddrnet.cli.report import Report, printable, progress

if TYPE_CHECKING:
    from ddrnet.cli.results import Wanted
    from ddrnet.predictor.predictor import Predictor
    from ddrnet.predictor.segmentation import Segmentation
    from ddrnet.predictor.sources import Pending, Source


def is_clip(path: Path) -> bool:
    """Return whether a path names a video that can be written, and is no folder."""
    from ddrnet.predictor.video.encoding import FORMATS

    return path.suffix.lower() in FORMATS and not path.is_dir()


def write_clip(
    args: argparse.Namespace,
    sources: Sequence[Source],
    out: Path,
    predictor: Predictor,
    wanted: Wanted,
    report: Report,
    show: Callable[[Segmentation], bool],
) -> int:
    """Write one video of all frames; return 1 if a frame failed.

    A single video or animation keeps its timestamps, and a video its sound. Other images follow
    each other at `--fps`. After a frame that fails, the video ends; frames before it are kept. The
    recording of a camera ends with Ctrl-C.

    Raises:
        ValueError: If an argument does not fit a video, or frames have several sizes.
        OSError: If the file cannot be written.
    """
    from ddrnet.errors import PredictionError
    from ddrnet.predictor.video import VideoWriter, is_video
    from ddrnet.predictor.video.container import is_live

    _check(args, sources, out)
    origin = sources[0].origin
    like = origin if len(sources) == 1 and is_video(origin) else None
    frames = _frames(sources, args.every, args.fps)
    time_base = None if len(sources) == 1 else 1 / args.fps
    live = len(sources) == 1 and is_video(origin) and is_live(origin)
    speeds: list[dict[str, float]] = []
    failure: PredictionError | None = None
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with (
        progress(None) as bar,
        closing(predictor.stream_pending(frames)) as results,
        VideoWriter(out, like=like, time_base=time_base) as writer,
        # A camera gives frames until Ctrl-C; the video holds those so far.
        suppress(KeyboardInterrupt) if live else nullcontext(),
    ):
        for result in results:
            if isinstance(result, PredictionError):
                failure = result
                break
            assert result.time is not None
            writer.write(_pixels(result, wanted), result.time)
            speeds.append(result.speed)
            if args.json:
                report.result(result, {})
            bar.update()
            if not show(result):
                break
        if failure is not None and not speeds:
            raise failure
    if failure is not None:
        report.error(failure)
    summary = _summary(out, speeds, time.perf_counter() - started)
    print(printable(summary), file=sys.stderr if args.json else sys.stdout)
    return int(failure is not None)


def _frames(sources: Sequence[Source], every: int, fps: Fraction) -> Iterator[Pending]:
    """Yield the frames of one source at their own times, or those of many at so many per second."""
    from ddrnet.predictor.sources import images_of

    images = (image for source in sources for image in images_of(source, every=every))
    for position, image in enumerate(images):
        if len(sources) == 1 and image.time is not None:
            yield image
        else:
            yield image._replace(time=position / fps)


def _check(args: argparse.Namespace, sources: Sequence[Source], out: Path) -> None:
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("one process writes a video: start ddrnet predict without torchrun")
    for option in ("legend", "confidence", "skip_existing", "no_overlay"):
        if getattr(args, option):
            name = option.replace("_", "-")
            raise ValueError(f"--{name} is for a folder of results, not for the video {args.out}")
    if args.fps <= 0:
        raise ValueError(f"--fps is a number of frames per second above 0, got {args.fps}")
    files = [source.origin for source in sources if isinstance(source.origin, Path)]
    if out.exists() and any(os.path.exists(file) and out.samefile(file) for file in files):
        raise ValueError(f"{out} would overwrite the video that it is made from")


def _pixels(
    result: Segmentation, wanted: Wanted
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the frame that is written: the overlay, or with `--color` the class colours."""
    from ddrnet.visualize import colorize

    if wanted.color:
        return colorize(result.labels, result.classes)
    return np.asarray(result.overlay(only=wanted.only))


def _summary(out: Path, speeds: Sequence[dict[str, float]], seconds: float) -> str:
    medians = (
        f"{statistics.median(speed[part] for speed in speeds):.1f} {part}" for part in speeds[0]
    )
    return (
        f"{out}: {len(speeds)} frames, {len(speeds) / seconds:.1f} per second; "
        f"median milliseconds per frame: {', '.join(medians)}"
    )
