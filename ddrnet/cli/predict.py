"""`ddrnet predict`: writes label maps and overlays of images and videos."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddrnet.cli.models import (
    add_backend_arguments,
    add_model_arguments,
    backend_options,
    caveat_of,
    model_or_file,
    runs_elsewhere,
    weights_of,
)
from ddrnet.cli.report import Report, progress
from ddrnet.labels import ClassLabel

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

    from ddrnet.cli.results import Wanted
    from ddrnet.predictor.predictor import Predictor
    from ddrnet.predictor.segmentation import Segmentation
    from ddrnet.predictor.sources import Pending, Source

Show = Callable[["Segmentation"], bool]
"""Shows a result; returns whether to go on."""

_OUT = Path("predictions")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "predict",
        help="segment images",
        description="Segment images (PNG, JPEG, WebP, BMP, TIFF, GIF; 8 and 16 bit) and videos. "
        "Each image or frame gets NAME.labels.png with the class index of every pixel and "
        "NAME.overlay.png with the classes over the image, both of its size. The share of every "
        "class is printed. Sources that cannot be read are reported and skipped. "
        "--out clip.mp4 writes one video with the classes over its frames.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="SOURCE",
        help="an image, a folder (subfolders are searched too), a pattern such as "
        "'photos/**/*.jpg', an http(s) address, a video, the number of a webcam, a text file with "
        "a source per line, or - for such a list on standard input",
    )
    add_model_arguments(parser)
    _add_computing(parser.add_argument_group("computing"))
    _add_results(parser.add_argument_group("results"))
    parser.set_defaults(run=run)


def _add_computing(group: Any) -> None:
    add_backend_arguments(group)
    group.add_argument(
        "--device", help="such as cpu, cuda:1 or mps (default: the accelerator, else the CPU)"
    )
    group.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="of weights and activations (default: %(default)s)",
    )
    group.add_argument(
        "--compile", action="store_true", help="compile the network; takes a while for each size"
    )
    group.add_argument(
        "--size",
        type=height_and_width,
        metavar="HxW",
        help="size that the network sees; the results keep the size of the image",
    )
    group.add_argument(
        "--tta",
        nargs="*",
        type=float,
        metavar="SCALE",
        help="average over these scales, each also mirrored (without a scale: 1)",
    )
    group.add_argument(
        "--window",
        type=height_and_width,
        metavar="HxW",
        help="see large images through overlapping windows of this size, which need less memory",
    )
    group.add_argument(
        "--every",
        type=_positive,
        default=1,
        metavar="N",
        help="take each N-th frame of videos, animations and webcams (default: %(default)s)",
    )


def _add_results(group: Any) -> None:
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR|VIDEO",
        help="folder for the results, which keeps the tree of searched folders; or a video file "
        f"(.mp4, .mov, .mkv, .webm) (default: {_OUT}, or nothing with --show)",
    )
    group.add_argument(
        "--fps",
        type=Fraction,
        default=Fraction(25),
        metavar="N",
        help="frames per second of a video made from images (default: %(default)s)",
    )
    group.add_argument(
        "--show", action="store_true", help="show the overlays in a window; Escape ends the run"
    )
    group.add_argument(
        "--skip-existing", action="store_true", help="skip images whose results exist"
    )
    group.add_argument("--no-overlay", action="store_true", help="write no overlays")
    group.add_argument(
        "--legend",
        action="store_true",
        help="draw the legend below each overlay, not into one legend.png in each folder",
    )
    group.add_argument(
        "--color", action="store_true", help="write NAME.color.png with the class colours"
    )
    group.add_argument(
        "--confidence",
        action="store_true",
        help="write NAME.confidence.png with the probability of the class, 0 to 255",
    )
    group.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="show only these classes in overlays and printed shares; label maps keep all",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON per image: source, files, shares (0-1), milliseconds",
    )


def run(args: argparse.Namespace) -> int:
    """Segment every image; return 1 if one failed."""
    from ddrnet.cli.clips import is_clip, write_clip
    from ddrnet.cli.processes import any_of_all, joined, of_first, share
    from ddrnet.cli.results import Wanted, name_results

    out = _checked_out(args.out)
    with joined(args.device) as (device, _):
        sources = of_first(lambda: _distinct_sources(args.paths))
        stems = name_results(sources, out)
        predictor = _predictor(args, device)
        wanted = Wanted(
            labels=args.out is not None or not args.show,
            overlay=not args.no_overlay and (args.out is not None or not args.show),
            color=args.color,
            confidence=args.confidence,
            legend=args.legend,
            only=_known(args.classes, predictor.classes),
            note=caveat_of(weights_of(predictor) or args.model, args.checkpoint),
        )
        report = Report(wanted.only, as_json=args.json, single=len(sources) == 1)
        with _window(args.show) as show:
            if is_clip(out):
                return write_clip(args, sources, out, predictor, wanted, report, show)
            named = share(list(zip(sources, stems, strict=True)))
            return any_of_all(_segment(args, named, predictor, wanted, report, show))


def _checked_out(given: Path | None) -> Path:
    """Return the folder or the video for the results; raise an error if it can be neither."""
    from ddrnet.cli.clips import is_clip
    from ddrnet.predictor.video import VIDEO_SUFFIXES
    from ddrnet.predictor.video.encoding import FORMATS

    out = (given or _OUT).expanduser()
    if is_clip(out) or out.is_dir():
        return out
    if out.exists():
        raise NotADirectoryError(f"--out {out} is a file; the results need a folder")
    if out.suffix.lower() in VIDEO_SUFFIXES:
        raise ValueError(f"--out {out}: videos are written as {', '.join(FORMATS)}")
    return out


def _predictor(args: argparse.Namespace, device: torch.device) -> Predictor:
    from ddrnet.predictor.predictor import Predictor

    return Predictor(
        model_or_file(args),
        **backend_options(args),
        device=args.device if runs_elsewhere(args) else device,
        precision=args.precision,
        compile=args.compile,
        size=args.size,
        tta=(args.tta or [1.0]) if args.tta is not None else None,
        window=args.window,
        confidence=args.confidence,
    )


@contextmanager
def _window(wanted: bool) -> Iterator[Show]:
    """Open a window if wanted; yield what shows a result and returns whether to go on."""
    if not wanted:
        yield lambda result: True
        return
    from ddrnet.predictor.video import VideoWindow

    with VideoWindow("ddrnet predict") as window:
        yield lambda result: window.show(np.asarray(result.overlay()))


def _segment(
    args: argparse.Namespace,
    named: Sequence[tuple[Source, Path]],
    predictor: Predictor,
    wanted: Wanted,
    report: Report,
    show: Show,
) -> bool:
    """Segment sources, given with the beginning of their results' names; True if one failed."""
    from ddrnet.cli.results import Writers
    from ddrnet.errors import PredictionError

    waiting: deque[dict[str, Path]] = deque()  # the files of images that are not segmented yet
    bar = progress(len(named))

    def finish(result: Segmentation, files: dict[str, Path]) -> None:
        report.result(result, files)
        bar.update()

    failed = False
    with (
        bar,
        Writers(wanted, predictor.classes, finish) as writers,
        closing(predictor.stream_pending(_images(args, named, wanted, waiting, bar))) as results,
    ):
        for result in results:
            files = waiting.popleft()
            if isinstance(result, PredictionError):
                failed = True
                report.error(result)
                bar.update()
                continue
            writers.write(result, files)
            if not show(result):
                break
    return failed


def _images(
    args: argparse.Namespace,
    named: Sequence[tuple[Source, Path]],
    wanted: Wanted,
    waiting: deque[dict[str, Path]],
    bar: tqdm[Any],
) -> Iterator[Pending]:
    """Yield the images whose results are wanted; append their files to `waiting`."""
    from ddrnet.predictor.sources import images_of

    for source, stem in named:
        for image in images_of(source, every=args.every):
            files = wanted.files(stem, image.frame)
            if args.skip_existing and files and all(path.exists() for path in files.values()):
                bar.update()
            else:
                waiting.append(files)
                yield image


def height_and_width(text: str) -> tuple[int, int]:
    """Read a size such as 512x1024.

    Raises:
        ArgumentTypeError: If the text is no size.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 512x1024, got {text!r}")
    return int(sides[0]), int(sides[1])


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)


def _distinct_sources(paths: Sequence[str]) -> list[Source]:
    """Return the sources on the command line, each once; raise the error if all are missing."""
    from ddrnet.predictor.sources import find_sources

    given = [line for path in paths for line in (_stdin_lines() if path == "-" else [path])]
    found: dict[Any, Source] = {}
    for source in find_sources(given):
        # Two links to one file are two images, whose results have names of their own.
        path = isinstance(source.origin, Path)
        key = os.path.abspath(source.origin) if path else str(source.origin)
        found.setdefault((path, key), source)
    sources = list(found.values())
    if not sources:
        raise ValueError("no source was given: standard input is empty")
    first = sources[0].origin
    missing = [isinstance(s.origin, Path) and not os.path.exists(s.origin) for s in sources]
    if all(missing):
        raise FileNotFoundError(f"there is no file or folder {first}")
    if all(isinstance(source.origin, Exception) for source in sources):
        raise first
    return sources


def _stdin_lines() -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()]


def _known(names: Sequence[str] | None, classes: Sequence[ClassLabel]) -> Sequence[str] | None:
    """Return class names as the model spells them; raise ValueError for unknown ones."""
    if names is None:
        return None
    exact = {label.name: label.name for label in classes}
    spelt = {name.casefold(): name for name in exact} | exact
    known = {name: spelt.get(name, spelt.get(name.casefold())) for name in names}
    unknown = [name for name, spelling in known.items() if spelling is None]
    if unknown:
        raise ValueError(
            f"--classes: the model has no class {', '.join(unknown)}; it has {', '.join(exact)}"
        )
    return [spelling for spelling in known.values() if spelling is not None]
