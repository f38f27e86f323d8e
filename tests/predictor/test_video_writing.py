import errno
import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import BT709, LIMITED, flat, timestamps, turn, write_clip

from ddrnet.predictor.video import Frame, VideoWriter, encoding, read_video

TICK = Fraction(1, 25)


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", pts=range(50), audio="aac")


def write(path, frames, *, like=None):
    with VideoWriter(path, like=like) as writer:
        for frame in frames:
            writer.write(frame.pixels, frame.time)
    return path


def write_flat(path, pts=(0, 1, 2), time_base=TICK, size=(48, 64)):
    with VideoWriter(path, time_base=time_base) as writer:
        for position, moment in enumerate(pts):
            writer.write(flat(10 * position + 20, size), moment * time_base)
    return path


def sound(path):
    """The bytes and the time of every packet of sound."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        return [(bytes(packet), packet.pts * packet.time_base) for packet in packets]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv"])
def test_keeps_frames_timestamps_and_sound(tmp_path, clip, suffix):
    path = write(tmp_path / f"out{suffix}", read_video(clip), like=clip)
    assert timestamps(path) == timestamps(clip) == [position * TICK for position in range(50)]
    before, after = sound(clip), sound(path)
    assert [content for content, _ in after] == [content for content, _ in before]
    clock = Fraction(1, 2000) if suffix == ".mkv" else 0  # Matroska rounds to milliseconds
    moved = [abs(time - wanted) for (_, time), (_, wanted) in zip(after, before, strict=True)]
    assert max(moved) <= clock


def test_keeps_frames_and_sound_of_webm(tmp_path):
    source = write_clip(tmp_path / "in.webm", pts=range(50), codec="libvpx-vp9", audio="libopus")
    path = write(tmp_path / "out.webm", read_video(source), like=source)
    assert timestamps(path) == timestamps(source)
    assert sound(path) == sound(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    ("pts", "time_base"),
    [
        ((0, 1, 2, 3), Fraction(1001, 30000)),
        ((0, 3, 4, 500, 501), Fraction(1, 90000)),  # variable rate
        ((3700, 3740, 3790), Fraction(1, 1000)),  # a late start
        ((5, 6, 9), Fraction(1, 1000000)),  # a camera's clock
        ((0, 1), Fraction(7, 3)),
    ],
)
def test_timestamps_are_exact(tmp_path, suffix, pts, time_base):
    path = write_flat(tmp_path / f"out{suffix}", pts, time_base)
    assert timestamps(path) == [moment * time_base for moment in pts]
    frames = list(read_video(path))
    assert [frame.time for frame in frames] == [moment * time_base for moment in pts]
    grey = [int(frame.pixels.mean().round()) for frame in frames]
    assert grey == pytest.approx([10 * position + 20 for position in range(len(pts))], abs=2)


@given(
    start=st.integers(0, 10_000),
    steps=st.lists(st.integers(1, 5000), max_size=12),
    numerator=st.integers(1, 2000),
    denominator=st.integers(1, 100_000),
)
def test_any_timestamps_are_exact(tmp_path_factory, start, steps, numerator, denominator):
    pts, time_base = list(accumulate(steps, initial=start)), Fraction(numerator, denominator)
    path = write_flat(tmp_path_factory.mktemp("out") / "out.mp4", pts, time_base, (16, 16))
    assert timestamps(path) == [moment * time_base for moment in pts]
    assert [frame.time for frame in read_video(path)] == timestamps(path)


@pytest.mark.parametrize(
    "step",
    [
        *(TICK, Fraction(1001, 30000), Fraction(1, 1000), Fraction(1, 90000)),
        *(Fraction(1, 1000000), Fraction(1001, 24000)),
    ],
)
def test_usual_clocks_are_exact_without_any_setting(tmp_path, step):
    with VideoWriter(tmp_path / "out.mp4") as writer:
        for position in range(5):
            writer.write(flat(9), position * step)
    assert timestamps(tmp_path / "out.mp4") == [position * step for position in range(5)]


def test_a_late_start_is_exact_also_with_sound(tmp_path):
    pts = range(38, 60)
    source = write_clip(tmp_path / "in.mkv", pts=pts, time_base=TICK, audio="libopus")
    path = write(tmp_path / "out.mp4", read_video(source), like=source)
    assert timestamps(path) == timestamps(source)


def test_sound_of_joined_recordings_goes_on(tmp_path):
    source = write_clip(tmp_path / "in.ts", pts=range(25), audio="aac")
    single = sound(source)
    source.write_bytes(2 * source.read_bytes())
    path = write(tmp_path / "out.mp4", read_video(source), like=source)
    assert timestamps(path)[-1] - timestamps(path)[0] == 49 * TICK
    copied = [time for _, time in sound(path)]
    assert len(copied) == 2 * len(single)
    assert np.diff([float(time) for time in copied]) == pytest.approx(1024 / 48000, abs=1e-4)


def test_kept_frames_keep_their_timestamps(tmp_path, clip):
    path = write(tmp_path / "out.mp4", read_video(clip, every=7), like=clip)
    assert timestamps(path) == [position * TICK for position in range(0, 50, 7)]
    assert sound(path) == sound(clip)


def test_sound_lies_beside_its_frames(tmp_path, clip):
    path = write(tmp_path / "out.mp4", read_video(clip), like=clip)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    in_file = sorted(packets, key=lambda packet: packet.pos)
    times = [float(packet.dts * packet.time_base) for packet in in_file]
    assert max(abs(np.diff(times))) < 1.1  # FFmpeg writes chunks of up to a second


@pytest.mark.parametrize("like", [None, 0, "rtsp://camera/stream"])
def test_writes_without_sound(tmp_path, like):
    with VideoWriter(tmp_path / "out.mp4", like=like) as writer:
        writer.write(flat(9), 0 * TICK)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("size", [(1, 1), (33, 46), (48, 63), (35, 47)])
def test_odd_sizes_repeat_the_edge(tmp_path, size):
    gradient = np.linspace(0, 255, size[0] * size[1]).reshape(*size, 1).repeat(3, axis=2)
    with VideoWriter(tmp_path / "out.mp4") as writer:
        writer.write(gradient.astype(np.uint8), 0 * TICK)
    [frame] = read_video(tmp_path / "out.mp4")
    height, width = size
    assert frame.pixels.shape == (height + height % 2, width + width % 2, 3)
    errors = np.abs(frame.pixels[:height, :width] - gradient)
    assert errors.mean() < 4
    if height % 2:
        errors = np.abs(frame.pixels[-1].astype(int) - frame.pixels[-2])
        assert errors.mean() < 4


def test_colors_are_of_bt709_and_tagged(tmp_path):
    color = np.array([200, 60, 90])
    with VideoWriter(tmp_path / "out.mp4") as writer:
        writer.write(np.full((48, 64, 3), color, np.uint8), 0 * TICK)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (BT709,) * 3
    assert frame.color_range == LIMITED
    # ITU-R BT.709-6, clause 3.
    luma = color @ [0.2126, 0.7152, 0.0722] / 255
    blue, red = (color[2] / 255 - luma) / 1.8556, (color[0] / 255 - luma) / 1.5748
    wanted = [16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red]
    stored = [bytes(plane)[0] for plane in frame.planes]
    assert stored == pytest.approx(wanted, abs=2)


def test_frames_come_back_nearly_unchanged(tmp_path, clip):
    path = write(tmp_path / "out.mp4", read_video(clip), like=clip)
    for frame, wanted in zip(read_video(path), read_video(clip), strict=True):
        np.testing.assert_allclose(frame.pixels, wanted.pixels.astype(int), atol=3)


def test_keeps_the_shape_of_pixels_also_of_turned_videos(tmp_path):
    ratio = Fraction(4, 3)
    source = write_clip(tmp_path / "in.mp4", sample_aspect_ratio=ratio)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(source.read_bytes())
    turn(turned, (0, 1, -1, 0))
    for path, expected in ((source, ratio), (turned, 1 / ratio)):
        write(tmp_path / "out.mp4", read_video(path), like=path)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert container.streams.video[0].sample_aspect_ratio == expected


def test_takes_the_next_encoder_if_one_is_missing(tmp_path, monkeypatch):
    formats = {".mp4": ("mp4", ("no_such_encoder", "mpeg4"))}
    monkeypatch.setattr(encoding, "FORMATS", formats)
    path = write_flat(tmp_path / "out.mp4")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert timestamps(path) == [0, TICK, 2 * TICK]


def test_replaces_a_file_only_at_the_end(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with VideoWriter(path) as writer:
        writer.write(flat(9), 0 * TICK)
        assert path.read_text() == "old"
    assert len(list(read_video(path))) == 1
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("written", [0, 1, 100])
def test_an_error_leaves_no_file(tmp_path, error, written):
    def frames():
        yield from (Frame(flat(9), position, position, TICK) for position in range(written))
        raise error

    with pytest.raises(type(error)):
        write(tmp_path / "out.mp4", frames())
    assert os.listdir(tmp_path) == []


def test_refuses_a_video_without_frames(tmp_path):
    with pytest.raises(ValueError, match=r"out\.mp4: no frame was written"):
        write(tmp_path / "out.mp4", ())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((48, 64, 3), np.float32), "float32"),
        (np.zeros((48, 64), np.uint8), r"\(48, 64\)"),
        (np.zeros((48, 64, 4), np.uint8), r"\(48, 64, 4\)"),
        (np.zeros((64, 48, 3), np.uint8), r"one size, \(48, 64\); got \(64, 48\)"),
        (np.zeros((0, 64, 3), np.uint8), r"\(0, 64, 3\)"),
    ],
)
def test_refuses_other_pixels(tmp_path, pixels, message):
    with VideoWriter(tmp_path / "out.mp4") as writer:
        writer.write(flat(9), 0 * TICK)
        with pytest.raises(ValueError, match=message):
            writer.write(pixels, TICK)
        writer.write(flat(9), TICK)
    assert timestamps(tmp_path / "out.mp4") == [0, TICK]


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (5 * TICK, "timestamps increase"),
        (4 * TICK, "timestamps increase"),
        (Fraction(1000, 999), "timestamps are multiples of 1/10000 seconds"),
    ],
)
def test_refuses_timestamps_that_do_not_fit(tmp_path, time, message):
    with VideoWriter(tmp_path / "out.mp4", time_base=TICK) as writer:
        writer.write(flat(9), 5 * TICK)
        with pytest.raises(ValueError, match=rf"out\.mp4: {message}"):
            writer.write(flat(9), time)


def test_refuses_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match=r"\.mp4.*\.webm, got 'out\.gif'"):
        VideoWriter(tmp_path / "out.gif")


def test_refuses_to_overwrite_the_source(clip):
    with pytest.raises(ValueError, match="overwrite"):
        VideoWriter(clip, like=str(clip))
    assert len(list(read_video(clip))) == 50


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
def test_refuses_sound_that_the_format_cannot_hold(tmp_path, suffix):
    source = write_clip(
        tmp_path / "in.mkv", audio="aac" if suffix == ".webm" else "libopus", pts=range(30)
    )
    with pytest.raises(ValueError, match=rf"out\{suffix}: .* cannot hold .*(aac|opus)"):
        write(tmp_path / f"out{suffix}", read_video(source), like=source)
    assert os.listdir(tmp_path) == ["in.mkv"]


def test_names_a_folder_that_does_not_exist(tmp_path):
    path = tmp_path / "none" / "out.mp4"
    with pytest.raises(FileNotFoundError, match=r"none.out\.mp4"), VideoWriter(path):
        pass


def test_names_a_folder_that_cannot_be_written(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with (
        pytest.raises(PermissionError, match=r"closed.out\.mp4"),
        VideoWriter(folder / "out.mp4"),
    ):
        pass


@pytest.mark.parametrize("limit", [10, 3000, 200_000])
def test_a_full_disk_gives_one_error_and_leaves_no_file(tmp_path, limit):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 128, 3), np.uint8)
    frames = [Frame(pixels, position, position, TICK) for position, pixels in enumerate(noise)]
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"out\.mp4") as caught:
            write(tmp_path / "out.mp4", frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from /proc")
def test_a_long_video_needs_no_more_memory(tmp_path):
    count = 5000
    source = write_clip(
        tmp_path / "in.mp4",
        pts=range(count),
        frames=[flat(value % 250, (96, 160)) for value in range(count)],
        audio="aac",
    )
    program = """
        import sys
        from ddrnet.predictor.video import VideoWriter, read_video

        def resident():
            status = open("/proc/self/status").read()
            return int(status.partition("VmRSS:")[2].split()[0])

        source, out = sys.argv[1:]
        with VideoWriter(out, like=source) as writer:
            for frame in read_video(source):
                writer.write(frame.pixels, frame.time)
                if frame.index % 500 == 499:
                    print(resident())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), source, tmp_path / "out.mp4"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    kibibytes = [int(line) for line in done.stdout.split()]
    # All frames together are 230 MB; the encoder's queue is full after 500 frames.
    assert max(kibibytes) - kibibytes[0] < 8 * 1024
    assert timestamps(tmp_path / "out.mp4") == [position * TICK for position in range(count)]
    assert sound(tmp_path / "out.mp4") == sound(source)
