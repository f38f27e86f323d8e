"""`ddrnet predict`: writes label maps and overlays of images and videos."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddrnet.cli.models import add_model_arguments, caveat_of, trained_model
from ddrnet.labels import ClassLabel

if TYPE_CHECKING:
    from tqdm import tqdm

    from ddrnet.cli.results import Wanted
    from ddrnet.predictor.predictor import Predictor
    from ddrnet.predictor.segmentation import Segmentation
    from ddrnet.predictor.sources import Pending, Source

_GAP = "   "


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "predict",
        help="segment images",
        description="Segment images (PNG, JPEG, WebP, BMP, TIFF, GIF; 8 and 16 bit). Each image "
        "gets NAME.labels.png with the class index of every pixel and NAME.overlay.png with the "
        "classes over the image, both of its size. The share of every class is printed. Sources "
        "that cannot be read are reported and skipped.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="SOURCE",
        help="an image, a folder (subfolders are searched too), a pattern such as "
        "'photos/**/*.jpg', an http(s) address, a text file with a source per line, or - for such "
        "a list on standard input",
    )
    add_model_arguments(parser)
    _add_computing(parser.add_argument_group("computing"))
    _add_results(parser.add_argument_group("results"))
    parser.set_defaults(run=run)


def _add_computing(group: Any) -> None:
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
        type=int,
        default=1,
        metavar="N",
        help="take each N-th frame of an animation (default: %(default)s)",
    )


def _add_results(group: Any) -> None:
    group.add_argument(
        "--out",
        default="predictions",
        type=Path,
        metavar="DIR",
        help="folder for the results; it keeps the tree of searched folders (default: %(default)s)",
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
    from ddrnet.cli.processes import any_of_all, joined, of_first, share
    from ddrnet.cli.results import Wanted, name_results
    from ddrnet.predictor.predictor import Predictor

    out = args.out.expanduser()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; the results need a folder")
    with joined(args.device) as (device, _):
        sources = of_first(lambda: _distinct_sources(args.paths))
        named = list(zip(sources, name_results(sources, out), strict=True))
        predictor = Predictor(
            trained_model(args.model, args.checkpoint),
            device=device,
            precision=args.precision,
            compile=args.compile,
            size=args.size,
            tta=(args.tta or [1.0]) if args.tta is not None else None,
            window=args.window,
            confidence=args.confidence,
        )
        wanted = Wanted(
            overlay=not args.no_overlay,
            color=args.color,
            confidence=args.confidence,
            legend=args.legend,
            only=_known(args.classes, predictor.classes),
            note=caveat_of(args.model, args.checkpoint),
        )
        return any_of_all(_Run(args, predictor, wanted).segment(share(named)))


class _Run:
    """One run over the sources of this process."""

    def __init__(self, args: argparse.Namespace, predictor: Predictor, wanted: Wanted) -> None:
        self.args = args
        self.predictor = predictor
        self.wanted = wanted
        self.waiting: deque[dict[str, Path]] = deque()
        """The files of the images that were drawn and are not segmented yet."""
        self.legends: set[Path] = set()

    def segment(self, named: Sequence[tuple[Source, Path]]) -> bool:
        """Segment sources, given with the beginning of their results' names; True if one failed."""
        from tqdm import tqdm

        from ddrnet.cli.results import write_results
        from ddrnet.errors import PredictionError
        from ddrnet.predictor.stream import READERS

        failed, single = False, len(named) == 1
        writing: deque[tuple[Segmentation, dict[str, Path], Future[None]]] = deque()
        with (
            tqdm(total=len(named), unit="image", disable=True if single else None) as bar,
            ThreadPoolExecutor(READERS, "ddrnet-write") as writers,
            closing(self.predictor.stream_pending(self._images(named, bar))) as results,
        ):
            for result in results:
                files = self.waiting.popleft()
                if isinstance(result, PredictionError):
                    failed = True
                    self._report_error(result)
                    bar.update()
                    continue
                self._write_legend(files)
                job = writers.submit(write_results, files, result, self.wanted)
                writing.append((result, files, job))
                while len(writing) > READERS:
                    self._finish(*writing.popleft(), single, bar)
            while writing:
                self._finish(*writing.popleft(), single, bar)
        return failed

    def _images(self, named: Iterable[tuple[Source, Path]], bar: tqdm[Any]) -> Iterator[Pending]:
        """Yield the images whose results are wanted, and remember their files."""
        from ddrnet.predictor.sources import images_of

        for source, stem in named:
            for image in images_of(source, every=self.args.every):
                files = self.wanted.files(stem, image.frame)
                if self.args.skip_existing and all(path.exists() for path in files.values()):
                    bar.update()
                    continue
                self.waiting.append(files)
                yield image

    def _write_legend(self, files: dict[str, Path]) -> None:
        from ddrnet.cli.results import write_legend

        folder = files["labels"].parent
        if "overlay" in files and not self.wanted.legend and folder not in self.legends:
            folder.mkdir(parents=True, exist_ok=True)
            write_legend(folder, self.predictor.classes, self.wanted)
            self.legends.add(folder)

    def _report_error(self, error: Exception) -> None:
        from tqdm import tqdm

        if self.args.json:
            source, frame = getattr(error, "source", ""), getattr(error, "frame", None)
            print(json.dumps({"source": source, "frame": frame, "error": str(error)}), flush=True)
        tqdm.write(f"ddrnet: error: {' '.join(str(error).split())}", file=sys.stderr)

    def _finish(
        self,
        result: Segmentation,
        files: dict[str, Path],
        job: Future[None],
        single: bool,
        bar: tqdm[Any],
    ) -> None:
        """Wait until the files of an image are written, then print its line."""
        job.result()
        bar.update()
        shares = result.shares()
        if self.wanted.only is not None:
            shares = {name: shares.get(name, 0.0) for name in self.wanted.only}
        if self.args.json:
            line = json.dumps(_row(result, files, shares))
        else:
            line = f"{_place(result)} -> {files.get('overlay', files['labels'])}"
            if single and result.frame is None:
                shown = [c for c in result.classes if self.wanted.only is None or c.name in shares]
                line += "\n" + shares_table([shares.get(c.name, 0.0) for c in shown], shown)
            else:
                line += f"{_GAP}{_largest(shares)}"
        bar.write(line, file=sys.stdout)


def height_and_width(text: str) -> tuple[int, int]:
    """Read a size such as 512x1024.

    Raises:
        ArgumentTypeError: If the text is no size.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 512x1024, got {text!r}")
    return int(sides[0]), int(sides[1])


def shares_table(shares: Sequence[float], classes: Sequence[ClassLabel]) -> str:
    """Return a table of the share of every class, as wide as the terminal."""
    from ddrnet.visualize import percent

    names = max(len(label.name) for label in classes)
    cells = [
        f"{label.name:<{names}}  {percent(share):>6}"
        for label, share in zip(classes, shares, strict=True)
    ]
    columns = max(1, (shutil.get_terminal_size().columns - 1) // (len(cells[0]) + len(_GAP)))
    rows = math.ceil(len(cells) / columns)
    return "\n".join(_GAP + _GAP.join(cells[row::rows]) for row in range(rows))


def _distinct_sources(paths: Sequence[str]) -> list[Source]:
    """Return the sources on the command line, each once; raise the error if all are missing."""
    from ddrnet.predictor.sources import find_sources

    given = [line for path in paths for line in (_stdin_lines() if path == "-" else [path])]
    found: dict[Any, Source] = {}
    for source in find_sources(given):
        key = source.origin.resolve() if isinstance(source.origin, Path) else str(source.origin)
        found.setdefault(key, source)
    sources = list(found.values())
    if not sources:
        raise ValueError("no source was given: standard input is empty")
    first = sources[0].origin
    missing = [isinstance(s.origin, Path) and not s.origin.exists() for s in sources]
    if all(missing):
        raise FileNotFoundError(f"there is no file or folder {first}")
    if all(isinstance(source.origin, Exception) for source in sources):
        raise first
    return sources


def _stdin_lines() -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()]


def _known(names: Sequence[str] | None, classes: Sequence[ClassLabel]) -> Sequence[str] | None:
    """Return class names as the model spells them; raise ValueError for unknown ones."""
    spelt = {label.name.casefold(): label.name for label in classes}
    unknown = [name for name in names or () if name.casefold() not in spelt]
    if unknown:
        raise ValueError(
            f"--classes: the model has no class {', '.join(unknown)}; it has "
            f"{', '.join(spelt.values())}"
        )
    return None if names is None else [spelt[name.casefold()] for name in names]


def _row(result: Segmentation, files: dict[str, Path], shares: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"source": result.source}
    if result.frame is not None:
        row["frame"] = result.frame
    if result.time is not None:
        row["time"] = float(result.time)
    row |= {kind: str(path) for kind, path in files.items()}
    return row | {"shares": shares, "milliseconds": result.speed}


def _place(result: Segmentation) -> str:
    return result.source if result.frame is None else f"{result.source}, frame {result.frame}"


def _largest(shares: dict[str, float]) -> str:
    from ddrnet.visualize import percent

    largest = sorted(shares.items(), key=lambda pair: -pair[1])[:4]
    return ", ".join(f"{name} {percent(share)}" for name, share in largest)
