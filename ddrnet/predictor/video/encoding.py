"""Encodes frames and interleaves them with the sound of another video."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ddrnet.predictor.video.container import import_av, video_stream
from ddrnet.predictor.video.sound import Sound

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.video import VideoStream

_H264 = ("libx264", "libopenh264", "mpeg4")
_VP9 = ("libvpx-vp9", "libvpx")

FORMATS = {
    ".mp4": ("mp4", _H264),
    ".m4v": ("mp4", _H264),
    ".mov": ("mov", _H264),
    ".mkv": ("matroska", _H264),
    ".webm": ("webm", _VP9),
}
"""File suffix -> FFmpeg's name of the format, and the encoders in the order of preference."""

_ENCODER_OPTIONS = {
    # Without B-frames the frames are stored in the order of their times, whatever the frame rate.
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0", "row-mt": "1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "8M"},
    "mpeg4": {"q": "3", "flags": "+qscale"},
}

_BT709, _LIMITED = 1, 1
"""Color tags. Source: ITU-T H.273, tables 2 to 4; FFmpeg, libavutil/pixfmt.h, AVCOL_RANGE_MPEG."""

_USUAL_RATE = Fraction(25)
"""Frames per second that encoders assume for their bit rate if the source states none."""

_USUAL_TIME_BASE = Fraction(1, 9_000_000)
"""A fraction of microseconds, milliseconds, 1/90000 and 1001/30000 seconds."""

_MIN_TICKS, _MAX_TICKS = 10_000, (1 << 31) - 1
"""Limits of the clock in ticks per second."""


class Encoder:
    """Writes a video of frames of one size, with the sound of another video.

    Args:
        file: An open file that can be read and sought.
        suffix: A key of `FORMATS`.
        size: Height and width of the frames in pixels.
        time_base: Seconds; every timestamp is a multiple. By default the source's, else 1/9000000.
        source: The video whose sound is copied, and whose frame rate and shape of pixels hold.

    Raises:
        ValueError: If the format cannot hold the sound.
        FFmpegError: If FFmpeg refuses an argument.
    """

    def __init__(
        self,
        file: BinaryIO,
        suffix: str,
        size: tuple[int, int],
        time_base: Fraction | None,
        source: InputContainer | None,
    ) -> None:
        from av.video.reformatter import VideoReformatter

        name, encoders = FORMATS[suffix]
        like = video_stream(source) if source is not None else None
        ticks = (time_base or (like and like.time_base) or _USUAL_TIME_BASE).denominator
        ticks *= math.ceil(_MIN_TICKS / ticks)  # a last frame shorter than a tick would be lost
        self._size, self._time_base = size, Fraction(1, ticks)
        options = _container_options(name, ticks, source)
        self._output: OutputContainer = import_av().open(file, "w", format=name, options=options)
        self._stream = _add_video(self._output, encoders, size, self._time_base, like)
        self._sound = Sound(source, self._output)
        try:
            self._output.start_encoding()
        except import_av().FFmpegError as error:
            kinds = [stream.codec_context.name for stream in self._output.streams]
            raise ValueError(
                f"{name} files cannot hold {' and '.join(kinds)} of {size[1]} x {size[0]} pixels: "
                f"{error.strerror}"
            ) from error
        self._reformatter = VideoReformatter()
        self._newest: int | None = None

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Append a frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            time: The time of presentation in seconds.

        Raises:
            ValueError: If the size or the time does not fit those before.
            OSError: If the file cannot be written.
            FFmpegError: If FFmpeg refuses the frame.
        """
        if pixels.shape[:2] != self._size:
            raise ValueError(f"frames have one size, {self._size}; got {pixels.shape[:2]}")
        pts = time / self._time_base
        if pts.denominator != 1:
            raise ValueError(
                f"timestamps are multiples of {self._time_base} seconds, got {time}; `time_base` "
                "sets another step"
            )
        if self._newest is not None and pts <= self._newest:
            last = self._newest * self._time_base
            raise ValueError(f"timestamps increase, got {time} after {last} seconds")
        self._newest = int(pts)
        frame = self._converted(pixels)
        frame.pts, frame.time_base = self._newest, self._time_base
        self._encode(frame)

    def finish(self) -> None:
        """Write what is left, the sound to its end, and close the container."""
        self._encode(None)
        for packet in self._sound.until(math.inf):
            self._output.mux(packet)
        self._output.close()

    def abandon(self) -> None:
        """Close the container of a file that will be deleted."""
        self._output.close()

    def _converted(self, pixels: NDArray[np.uint8]) -> VideoFrame:
        """Return RGB as 4:2:0, which needs an even size."""
        height, width = self._size
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return self._reformatter.reformat(
            import_av().VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
            format="yuv420p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED,
            threads=1,
        )

    def _encode(self, frame: VideoFrame | None) -> None:
        """Write the packets that a frame completes after the sound before them; None ends."""
        for packet in self._stream.encode(frame):
            if packet.dts is not None:
                for sound in self._sound.until(packet.dts * packet.time_base):
                    self._output.mux(sound)
            self._output.mux(packet)


def _container_options(name: str, ticks: int, source: InputContainer | None) -> dict[str, str]:
    """Return FFmpeg's options for exact timestamps."""
    if name in {"matroska", "webm"}:
        return {"avoid_negative_ts": "disabled"}  # else early sound would shift the frames
    rates = [stream.codec_context.sample_rate for stream in source.streams.audio] if source else []
    # The start of each track is rounded to the movie's clock.
    movie = math.lcm(ticks, *filter(None, rates))
    if movie > _MAX_TICKS:
        movie = ticks
    return {"video_track_timescale": str(ticks), "movie_timescale": str(movie)}


def _add_video(
    output: OutputContainer,
    encoders: tuple[str, ...],
    size: tuple[int, int],
    time_base: Fraction,
    like: VideoStream | None,
) -> VideoStream:
    """Add the stream of the frames."""
    height, width = size
    encoder = next(name for name in encoders if _is_available(name))
    stream = cast(Any, output).add_stream(
        encoder,
        rate=(like and like.average_rate) or _USUAL_RATE,
        options=_ENCODER_OPTIONS.get(encoder, {}),
        width=width + width % 2,
        height=height + height % 2,
        pix_fmt="yuv420p",
        time_base=time_base,
    )
    context = stream.codec_context
    if like and like.sample_aspect_ratio:
        ratio = like.sample_aspect_ratio
        is_turned = (like.height, like.width) == (width, height) != (height, width)
        context.sample_aspect_ratio = 1 / ratio if is_turned else ratio
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return cast("VideoStream", stream)


def _is_available(encoder: str) -> bool:
    """Return whether this build of FFmpeg has an encoder."""
    av = import_av()
    try:
        av.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True
