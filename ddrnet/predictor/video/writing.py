"""Writes videos with exact timestamps, with the sound of another video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ddrnet.files import StrPath, open_atomically
from ddrnet.predictor.video.container import import_av, is_live, open_video
from ddrnet.predictor.video.encoding import FORMATS, Encoder

if TYPE_CHECKING:
    from av.container import InputContainer


class VideoWriter:
    """Writes frames to a video file; use as a context manager.

    The file is written under a temporary name beside `path` and renamed at the end of the block;
    nothing is left if the block raises. H.264 in 4:2:0 (VP9 for .webm), colors of BT.709 in limited
    range, tagged so. Odd heights and widths are padded by one row or column that repeats the edge.

    MP4 and MOV hold every timestamp exactly; Matroska and WebM round to milliseconds.

    Args:
        path: The file to create or replace: .mp4, .m4v, .mov, .mkv or .webm.
        like: The video whose sound is copied as it is, and whose clock, frame rate and shape of
            pixels are those of the file. Cameras and streams give nothing: they cannot be read
            twice.
        time_base: Seconds; every timestamp is a multiple. By default the clock of `like`, else
            1/9000000, a fraction of the usual clocks of cameras and streams.

    Raises:
        DDRNetError: If PyAV is not installed.
        ValueError: If the suffix is another one, or `path` and `like` are one file.

    Example:
        >>> with VideoWriter("out.mp4", like="in.mp4") as writer:  # doctest: +SKIP
        ...     for frame in read_video("in.mp4"):
        ...         writer.write(255 - frame.pixels, frame.time)
    """

    def __init__(
        self,
        path: StrPath,
        *,
        like: StrPath | int | None = None,
        time_base: Fraction | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in FORMATS:
            raise ValueError(f"videos are written as {', '.join(FORMATS)}, got {self.path.name!r}")
        self._like = None if like is None or isinstance(like, int) or is_live(like) else like
        files = [self.path] if self._like is None else [self.path, self._like]
        if len(files) == 2 and all(map(os.path.exists, files)) and os.path.samefile(*files):
            raise ValueError(f"{self.path} would overwrite the video that it is made from")
        self._time_base = time_base
        self._av = import_av()
        self._resources = ExitStack()
        self._source: InputContainer | None = None
        self._file: BinaryIO | None = None
        self._encoder: Encoder | None = None

    def __enter__(self) -> VideoWriter:
        """Open the files.

        Raises:
            OSError: If the folder does not exist or cannot be written; the error names `path`.
            ValueError: If `like` is no video.
        """
        with ExitStack() as resources:
            if self._like is not None:
                self._source = resources.enter_context(open_video(self._like))
            self._file = resources.enter_context(open_atomically(self.path))
            resources.push(self._finish)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.__exit__(kind, error, traceback)

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Append a frame.

        Args:
            pixels: (H, W, 3) uint8 RGB; all frames have one size.
            time: The time of presentation in seconds, later than the last one.

        Raises:
            ValueError: If an argument does not fit, the encoder refuses it, or the format cannot
                hold the sound.
            OSError: If the file cannot be written; the error names `path`.
        """
        if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,) or not pixels.size:
            raise ValueError(f"expected (H, W, 3) uint8, got {pixels.dtype} {pixels.shape}")
        with self._naming_errors():
            if self._encoder is None:
                self._encoder = self._start(pixels)
            self._encoder.write(pixels, time)

    def _start(self, pixels: NDArray[np.uint8]) -> Encoder:
        """Return the encoder for frames like the first."""
        if self._file is None:
            raise ValueError("a VideoWriter writes inside its with block")
        height, width = pixels.shape[:2]
        suffix = self.path.suffix.lower()
        return Encoder(self._file, suffix, (height, width), self._time_base, self._source)

    def _finish(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the file, or close what will be deleted."""
        self._file = None
        if error is not None:
            if self._encoder is not None:
                with suppress(OSError, ValueError, self._av.FFmpegError):
                    self._encoder.abandon()
            return
        with self._naming_errors():
            if self._encoder is None:
                raise ValueError("no frame was written")
            self._encoder.finish()

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        """Turn errors of FFmpeg and of arguments into ones that name the file."""
        try:
            yield
        except OSError:
            raise  # `open_atomically` names it
        except self._av.FFmpegError as error:
            raise ValueError(f"cannot write {self.path}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"cannot write {self.path}: {error}") from error
