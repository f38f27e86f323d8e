"""Copies the sound of one video into another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ddrnet.predictor.video.container import import_av

if TYPE_CHECKING:
    from av import Packet
    from av.audio import AudioStream
    from av.container import InputContainer, OutputContainer


class Sound:
    """The packets of a video's sound, to be written as they are.

    Args:
        source: The video; None has no sound.
        output: The video that gets a stream for each stream of sound.

    Raises:
        ValueError: If the output's format cannot hold the sound.
    """

    def __init__(self, source: InputContainer | None, output: OutputContainer) -> None:
        streams = source.streams.audio if source else ()
        self._copies = {stream.index: _copy_stream(stream, output) for stream in streams}
        self._ends = dict.fromkeys(self._copies, -math.inf)  # of the last packets, in their ticks
        self._shifts = dict.fromkeys(self._copies, 0)
        self._packets: Iterator[Any] = source.demux(*streams) if source and streams else iter(())
        self._next = self._read()

    def until(self, time: Fraction | float) -> Iterator[Packet[AudioStream]]:
        """Yield the next packets up to a time in seconds.

        Raises:
            ValueError: If the source is damaged.
        """
        while self._next is not None:
            if self._next.dts * self._next.time_base > time:
                return
            self._next.stream = self._copies[self._next.stream.index]
            yield self._next
            self._next = self._read()

    def _read(self) -> Any:
        """Return the next packet that has a time, None at the end."""
        try:
            packet = next((p for p in self._packets if p.dts is not None and p.size), None)
        except import_av().FFmpegError as error:
            raise ValueError(f"the sound of the source is damaged: {error.strerror}") from error
        if packet is None:
            return None
        index, start = packet.stream.index, packet.dts
        # The second of two joined recordings starts its clock anew; it follows the first.
        if start + self._shifts[index] < self._ends[index] - (packet.duration or 0):
            self._shifts[index] = int(self._ends[index]) - start
        packet.pts = (start if packet.pts is None else packet.pts) + self._shifts[index]
        packet.dts = start + self._shifts[index]
        self._ends[index] = packet.dts + (packet.duration or 1)
        return packet


def _copy_stream(stream: Any, output: OutputContainer) -> Any:
    """Add a stream for the packets of another one."""
    try:
        copy = output.add_stream_from_template(stream)
    except ValueError as error:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        raise ValueError(
            f"{output.format.name} files cannot hold the sound of the source ({codec}); choose "
            "another format, such as .mkv, or write without `like`"
        ) from error
    if stream.language:
        copy.metadata["language"] = stream.language
    return copy
