"""Decodes videos into upright RGB frames with exact timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ddrnet.data.decoding import MAX_PIXELS
from ddrnet.files import StrPath
from ddrnet.predictor.video.container import (
    import_av,
    is_live,
    open_video,
    unreadable,
    video_stream,
)

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video import VideoStream

_HD_WIDTH, _HD_HEIGHT = 1280, 576
"""Videos without a tag have the colors of BT.709 from this width or above this height, else those
of BT.601. Source: mpv, video/csputils.c, mp_csp_guess_colorspace."""

_UNSPECIFIED = 2
"""The tag of unknown colors. Source: ITU-T H.273, table 4."""

_STATES_LENGTH = {"mov", "matroska", "flv"}
"""Formats whose header says how long the video is."""

_LENGTH_TOLERANCE = 0.5
"""Seconds by which the last packet may end before the length that the header states."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright.
        index: The position in the video, counted over all decoded frames.
        pts: The time of presentation, in units of `time_base`.
        time_base: Seconds.
    """

    pixels: NDArray[np.uint8]
    index: int
    pts: int
    time_base: Fraction

    @property
    def time(self) -> Fraction:
        """The time of presentation in seconds."""
        return self.pts * self.time_base


def read_video(source: StrPath | int, *, every: int = 1) -> Iterator[Frame]:
    """Yield the frames of a video; closing the generator closes the video.

    Rotated videos, as phones record them, come upright. Colors are converted as the video's tags
    say (matrix and range). High dynamic range is not mapped to standard range. Timestamps increase:
    where the file has none, the usual distance of its frames is added to the last one.

    A file is read until the first damage that FFmpeg reports, then the error is raised. A file
    that was cut off is recognised if the cut lies in a packet, or if the header states a length
    (MP4, MOV, Matroska, WebM, FLV). Cameras and streams go on after damage, as packets get lost.

    Args:
        source: A path, an http(s), rtsp or rtmp address, or the index of a camera.
        every: Yields each frame whose index is a multiple.

    Raises:
        DDRNetError: If PyAV is not installed.
        FileNotFoundError: If there is no such file or camera.
        IsADirectoryError: If the path is a folder.
        PermissionError: If access is denied.
        ValueError: If the source is empty, damaged, no video, or has frames of more pixels than
            `decode_image` accepts; or `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"every is a number of frames from 1, got {every}")
    with open_video(source) as container:
        stream = _decoder(container, source)
        convert, pts, step = _Converter(), None, _ticks_per_frame(stream)
        for index, frame in enumerate(_decoded(container, stream, source)):
            pts = _next_pts(frame, pts, step)
            if index % every == 0:
                yield Frame(convert(frame), index, pts, cast(Fraction, stream.time_base))


def _decoder(container: InputContainer, source: StrPath | int) -> VideoStream:
    """Return the stream of moving pictures, set up for decoding."""
    stream = video_stream(container)
    if stream is None:
        raise unreadable(source, "it holds no moving pictures that FFmpeg can decode")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise unreadable(
            source,
            f"{width} x {height} are {width * height} pixels, above the limit of {MAX_PIXELS}",
        )
    options = {"max_pixels": str(MAX_PIXELS)}
    if not is_live(source):
        stream.thread_type = "AUTO"  # several frames at once, which delays each of a live source
        options["err_detect"] = "explode"  # else damage is covered up with parts of other frames
    stream.codec_context.options = options
    return stream


def _decoded(
    container: InputContainer, stream: VideoStream, source: StrPath | int
) -> Iterator[VideoFrame]:
    """Yield the decoded frames; those of a file end with an error at the first damage."""
    live, count = is_live(source), 0
    sent = received = -(1 << 63)  # the newest timestamps
    for packet in _packets(container, stream, source):
        if packet is not None and packet.pts is not None and not packet.is_discard:
            sent = max(sent, packet.pts)
        frames, is_damaged = _decode(stream, packet, live)
        for frame in frames:
            count += 1
            received = max(received, received if frame.pts is None else frame.pts)
            yield frame
        if is_damaged and count:
            raise unreadable(source, f"it is damaged after {count} frames")
        if is_damaged:  # a recording that starts before a key frame; the decoder would stay stuck
            stream.codec_context.flush_buffers()
    if not count:
        raise unreadable(source, "FFmpeg can decode none of its frames")
    # PyAV drops errors that the decoder reports together with its last frames.
    if received < sent and not live:
        raise unreadable(source, f"it is damaged after {count} frames")


def _decode(
    stream: VideoStream, packet: Packet[VideoStream] | None, live: bool
) -> tuple[list[VideoFrame], bool]:
    """Return the intact frames that a packet completes, and whether others are damaged."""
    try:
        frames = stream.decode(packet)
    except import_av().error.InvalidDataError:
        return [], not live
    intact = list(takewhile(lambda frame: live or not frame.is_corrupt, frames))
    return intact, len(intact) < len(frames)


def _packets(
    container: InputContainer, stream: VideoStream, source: StrPath | int
) -> Iterator[Packet[VideoStream] | None]:
    """Yield the packets of a stream, then None; raise an error if the file was cut off."""
    end, damage, formats = Fraction(0), "", set(container.format.name.split(","))
    # MPEG-TS calls every gap corrupt, also the joint of two recordings: the decoder decides.
    is_strict = not is_live(source) and "mpegts" not in formats
    try:
        for packet in container.demux():  # every stream: the longest one has the stated length
            if packet.is_corrupt and is_strict:
                damage = "the file was cut off or is damaged"
                break
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream is stream and packet.size:
                yield cast("Packet[VideoStream]", packet)
    except import_av().FFmpegError as error:
        damage = error.strerror
    yield None
    length = Fraction(container.duration or 0, 1_000_000)
    if not damage and formats & _STATES_LENGTH and end + _LENGTH_TOLERANCE < length:
        damage = f"the file was cut off: it ends at {float(end):.1f} of {float(length):.1f} seconds"
    if damage:
        raise unreadable(source, damage)


def _ticks_per_frame(stream: VideoStream) -> int:
    """Return the usual distance of two frames in units of the time base."""
    if not stream.average_rate:
        return 1
    return max(1, round(1 / (stream.average_rate * cast(Fraction, stream.time_base))))


def _next_pts(frame: VideoFrame, previous: int | None, step: int) -> int:
    """Return the timestamp of a frame, later than the previous one also if it is missing."""
    pts = frame.dts if frame.pts is None else frame.pts  # AVI with B-frames has no more than dts
    if previous is None:
        return pts or 0
    if pts is None or pts < previous:
        return previous + step
    return max(pts, previous + 1)


class _Converter:
    """Converts decoded frames to upright RGB pixels."""

    def __init__(self) -> None:
        from av.video.reformatter import Colorspace, VideoReformatter

        self._reformatter, self._bt709 = VideoReformatter(), Colorspace.ITU709

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        is_hd = frame.width >= _HD_WIDTH or frame.height > _HD_HEIGHT
        matrix = self._bt709 if is_hd and frame.colorspace == _UNSPECIFIED else None
        rgb = self._reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, threads=1)
        pixels = cast(NDArray[np.uint8], rgb.to_ndarray())  # (H, W, 3)
        rotation: Any = frame.side_data.get("DISPLAYMATRIX")
        return pixels if rotation is None else _upright(pixels, np.frombuffer(rotation, np.int32))


def _upright(pixels: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return pixels turned and mirrored as a display matrix says, to the nearest right angle.

    The pixel at (x, y) is shown at (a x + c y, b x + d y). Source: FFmpeg, libavutil/display.h.
    """
    a, b, _, c, d = matrix[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
