"""Opens video files, streams and cameras, and nothing that they refer to."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ddrnet.data.decoding import MAX_PIXELS
from ddrnet.errors import DDRNetError
from ddrnet.files import StrPath

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video import VideoStream

_DEMUXERS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"), "mov"),
    **dict.fromkeys((".mkv", ".webm"), "matroska"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "mpeg"),
    **dict.fromkeys((".wmv", ".asf"), "asf"),
    **dict.fromkeys((".mjpg", ".mjpeg"), "mjpeg"),
    ".avi": "avi",
    ".flv": "flv",
    ".ogv": "ogg",
    ".mxf": "mxf",
    ".y4m": "yuv4mpegpipe",
}
"""File suffix -> FFmpeg's name of the format. Playlists, scripts and lists of images are absent:
they would make FFmpeg open other files and addresses."""

VIDEO_SUFFIXES = frozenset(_DEMUXERS)
"""Suffixes of video files, lower case."""

_FORMATS = ",".join(sorted({*_DEMUXERS.values(), "jpeg_pipe", "mpjpeg"}))

_NETWORK = {
    "http": {"protocol_whitelist": "http,https,tcp,tls", "format_whitelist": _FORMATS},
    "https": {"protocol_whitelist": "https,tcp,tls", "format_whitelist": _FORMATS},
    "rtmp": {"protocol_whitelist": "rtmp,tcp", "format_whitelist": "flv"},
    "rtsp": {
        "protocol_whitelist": "rtsp,rtp,tcp,udp",
        "format_whitelist": "rtsp,mpegts",
        "rtsp_transport": "tcp",  # UDP loses packets, and firewalls drop it
    },
}
"""Scheme of an address -> FFmpeg's options: what it may open on behalf of this address."""

_LIVE = {"rtmp", "rtsp"}

_TIMEOUT = 30.0
"""Seconds without an answer after which a network address counts as unreachable."""


def is_video(source: object) -> bool:
    """Return whether a source is a video by its name; nothing is opened.

    Videos are paths with a suffix in `VIDEO_SUFFIXES`, http(s) addresses whose path has one,
    every rtsp:// and rtmp:// address, and integers, which count the cameras of this machine.
    """
    if isinstance(source, int):
        return not isinstance(source, bool)
    if not isinstance(source, str | os.PathLike):
        return False
    scheme = _scheme(source)
    path = urlsplit(str(source)).path if scheme in {"http", "https"} else os.fspath(source)
    return scheme in _LIVE or PurePath(path).suffix.lower() in VIDEO_SUFFIXES


def is_live(source: StrPath | int) -> bool:
    """Return whether a video comes from a camera or a stream, where packets may get lost."""
    return isinstance(source, int) or _scheme(source) in _LIVE


@contextmanager
def open_video(source: StrPath | int) -> Iterator[InputContainer]:
    """Open a file, an address or a camera; errors of FFmpeg in the block name the source.

    Raises:
        DDRNetError: If PyAV is not installed.
        FileNotFoundError: If there is no such file or camera.
        IsADirectoryError: If the path is a folder.
        PermissionError: If access is denied.
        ValueError: If the source cannot be read as a video.
    """
    av = import_av()
    if isinstance(source, int):
        opened: dict[str, Any] = _camera(source)
    elif _scheme(source):
        opened = {"file": str(source), "options": _NETWORK[_scheme(source)], "timeout": _TIMEOUT}
    else:
        _check_file(source)
        options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
        opened = {"file": f"file:{os.fspath(source)}", "options": options}
    # The limit holds for the frames that FFmpeg decodes while it looks for the streams.
    opened["options"] = {**opened["options"], "max_pixels": str(MAX_PIXELS)}
    try:
        # Some cameras write titles in another encoding than UTF-8.
        with av.open(**opened, metadata_errors="replace") as container:
            # FFmpeg would invent timestamps for the B-frames of AVI, in a wrong order.
            container.flags &= ~av.container.Flags.gen_pts.value
            yield container
    except av.FFmpegError as error:
        if isinstance(source, int) and isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "there is no camera", str(source)) from error
        if isinstance(source, int) and isinstance(error, PermissionError):
            raise PermissionError(
                errno.EACCES, "the camera is closed to you", str(source)
            ) from error
        reason = {
            "Invalid argument": "its format may refer to other files, or is no video",
            "Immediate exit requested": f"no answer within {_TIMEOUT:.0f} seconds",
        }.get(error.strerror, error.strerror)
        raise unreadable(source, reason) from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the best stream of moving pictures, which the cover of a record is not."""
    cover = import_av().stream.Disposition.attached_pic
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & cover
    ]
    best = container.streams.best("video")
    return next((stream for stream in streams if stream is best), streams[0] if streams else None)


def unreadable(source: StrPath | int, reason: str) -> ValueError:
    """Return the error for a source that is not a whole video."""
    name = f"camera {source}" if isinstance(source, int) else repr(os.fspath(source))
    return ValueError(f"cannot read {name} as a video: {reason}")


def import_av() -> Any:
    """Return PyAV.

    Raises:
        DDRNetError: If it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise DDRNetError(
            'videos need av, which is not installed: pip install "ddrnet[video]"'
        ) from error
    return av


def _scheme(source: StrPath) -> str:
    """Return the scheme of a network address, lower case; "" for paths."""
    scheme, colon, _ = str(source).partition("://")
    return scheme.lower() if colon and scheme.lower() in _NETWORK else ""


def _check_file(path: StrPath) -> None:
    """Raise the error of a path that cannot be opened, is no regular file, or is empty."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(path, "it is no regular file but a pipe, socket or device")
    if not status.st_size:
        raise unreadable(path, "the file is empty")
    with open(path, "rb"):  # FFmpeg's reasons are no help: it also denies damaged files
        pass


def _camera(index: int) -> dict[str, Any]:
    """Return what PyAV opens for a camera of this machine."""
    if sys.platform == "darwin":
        return {"file": str(index), "format": "avfoundation", "options": {"framerate": "30"}}
    if sys.platform == "win32":
        devices = import_av().enumerate_input_devices("dshow")
        names = [device.name for device in devices if "video" in device.media_types]
        if not 0 <= index < len(names):
            raise FileNotFoundError(errno.ENOENT, f"there is no camera among {names}", str(index))
        return {"file": f"video={names[index]}", "format": "dshow", "options": {}}
    return {"file": f"/dev/video{index}", "format": "v4l2", "options": {}}
