"""Small videos whose frames and timestamps are known."""

import struct
from fractions import Fraction

import av
import numpy as np

LIMITED, FULL = 1, 2
BT709, UNSPECIFIED, BT601 = 1, 2, 6


def write_clip(
    path,
    *,
    pts=range(10),
    time_base=Fraction(1, 25),
    frames=None,
    codec="libx264",
    pixel_format="yuv420p",
    codec_options=(),
    audio="",
    title="",
    container_options=(),
    **tags,
):
    """Write a video; by default of flat frames that become lighter by 10, up to 240."""
    if frames is None:
        frames = [flat(10 * index % 250) for index in range(len(pts))]
    with av.open(str(path), "w", options=dict(container_options)) as container:
        # The codecs' own clock; some know no other than the frame rate.
        video = container.add_stream(codec, rate=1 / time_base, options=dict(codec_options))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pixel_format
        video.codec_context.time_base = time_base
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        container.metadata["title"] = title
        sound = container.add_stream(audio, rate=48000) if audio else None
        if sound is not None:
            seconds = (max(pts) + 1) * time_base
            container.mux(list(_sound(sound, round(seconds * 48000))))
        for moment, pixels in zip(pts, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=pixel_format,
                dst_colorspace=tags.get("colorspace"),
                dst_color_range=tags.get("color_range"),
            )
            frame.pts, frame.time_base = moment, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def flat(value, size=(48, 64)):
    """A grey frame."""
    return np.full((*size, 3), value, np.uint8)


def _sound(stream, samples):
    wave = (np.sin(np.arange(samples) * 0.06) * 8000).astype(np.int16)
    for start in range(0, samples, 1024):
        chunk = wave[start : start + 1024]
        frame = av.AudioFrame.from_ndarray(np.stack([chunk, chunk], 1).reshape(1, -1), "s16")
        frame.sample_rate, frame.pts = 48000, start
        frame.time_base = Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def turn(path, matrix):
    """Set the display matrix of an MP4 file's first track.

    Args:
        path: The file.
        matrix: (a, b, c, d); the pixel at (x, y) is shown at (a x + c y, b x + d y).
    """
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    # ISO 14496-12, 8.3.2: the box of version 0 holds 40 bytes before its matrix.
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def timestamps(path):
    """The times of a video's frames in seconds, sorted, as the container states them."""
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    return sorted(packet.pts * packet.time_base for packet in packets if packet.pts is not None)
