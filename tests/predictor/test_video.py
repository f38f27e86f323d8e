import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import videos
from loopback import Loopback, Reply
from videos import BT601, BT709, FULL, LIMITED, UNSPECIFIED, flat, write_clip

from ddrnet.errors import DDRNetError
from ddrnet.predictor.video import VIDEO_SUFFIXES, is_video, read_video
from ddrnet.predictor.video import container as opening

CORNERS = np.zeros((32, 64, 3), np.uint8)
CORNERS[:16, :32], CORNERS[:16, 32:] = (250, 0, 0), (0, 250, 0)
CORNERS[16:, :32], CORNERS[16:, 32:] = (0, 0, 250), (250, 250, 250)
"""Red, green, blue and white, clockwise from the top left: red, green, white, blue."""


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", pts=range(20))


def grey_values(frames):
    return [int(frame.pixels.mean().round()) for frame in frames]


@pytest.mark.parametrize(
    "source",
    [
        *("a.mp4", "A.MKV", Path("b/c.WebM"), "/x/y.mov", 0, 3),
        *("rtsp://camera/stream", "RTMP://host/app", "https://host/a.mp4?token=1.png"),
    ],
)
def test_knows_videos_by_their_names(source):
    assert is_video(source)


@pytest.mark.parametrize(
    "source",
    [
        *("a.png", "a.mp4.png", "mp4", ".mp4", "a.m3u8", "https://host/a.png", "https://a.mp4"),
        *("https://host/a.png?b=c.mp4", True, None, 0.0, np.zeros((4, 4)), b"a.mp4"),
    ],
)
def test_other_sources_are_no_videos(source):
    assert not is_video(source)


def test_suffixes_are_lower_case():
    assert {".mp4", ".mkv", ".webm", ".mov", ".avi"} <= VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in VIDEO_SUFFIXES)


def test_frames_come_in_order_with_their_index(clip):
    frames = list(read_video(clip))
    assert [frame.index for frame in frames] == list(range(20))
    assert grey_values(frames) == pytest.approx(range(0, 200, 10), abs=2)
    assert frames[0].pixels.shape == (48, 64, 3)
    assert frames[0].pixels.dtype == np.uint8
    assert all(frame.pixels.flags.writeable for frame in frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_every_container_gives_every_frame_once(tmp_path, name, b_frames):
    path = write_clip(tmp_path / name, pts=range(20), codec_options={"bf": b_frames})
    frames = list(read_video(path))
    assert grey_values(frames) == pytest.approx(range(0, 200, 10), abs=2)
    steps = np.diff([float(frame.time) for frame in frames])
    assert steps == pytest.approx(0.04, abs=1e-3)  # Matroska and MPEG-TS round to their clock


@pytest.mark.parametrize(
    ("pts", "time_base"),
    [
        ((0, 1, 2, 3), Fraction(1001, 30000)),
        ((0, 1, 5, 6, 100), Fraction(1, 90000)),  # variable rate
        ((37, 40, 43), Fraction(1, 600)),  # a late start
    ],
)
def test_timestamps_are_exact(tmp_path, pts, time_base):
    scale = {"movie_timescale": str(time_base.denominator)}
    options = {**scale, "video_track_timescale": str(time_base.denominator)}
    path = tmp_path / "a.mp4"
    write_clip(path, pts=pts, time_base=time_base, container_options=options)
    frames = list(read_video(path))
    assert [frame.time for frame in frames] == [moment * time_base for moment in pts]
    assert [frame.pts * frame.time_base for frame in frames] == [frame.time for frame in frames]


def test_every_second_frame_keeps_index_and_time(clip):
    every_frame = list(read_video(clip))
    kept = list(read_video(clip, every=3))
    assert [frame.index for frame in kept] == list(range(0, 20, 3))
    for frame in kept:
        assert frame.time == every_frame[frame.index].time
        np.testing.assert_array_equal(frame.pixels, every_frame[frame.index].pixels)


def test_every_counts_from_one(clip):
    with pytest.raises(ValueError, match="from 1, got 0"):
        next(read_video(clip, every=0))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), CORNERS),
        ((0, 1, -1, 0), CORNERS[::-1].swapaxes(0, 1)),  # a quarter to the right: a phone upright
        ((-1, 0, 0, -1), CORNERS[::-1, ::-1]),
        ((0, -1, 1, 0), CORNERS[:, ::-1].swapaxes(0, 1)),  # a quarter to the left
        ((-1, 0, 0, 1), CORNERS[:, ::-1]),  # a mirror
        ((1, 0, 0, -1), CORNERS[::-1]),
        ((0, 1, 1, 0), CORNERS.swapaxes(0, 1)),
        ((0, -1, -1, 0), CORNERS[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_turned_videos_come_upright(tmp_path, matrix, expected):
    path = write_clip(tmp_path / "a.mp4", pts=range(2), frames=[CORNERS] * 2)
    videos.turn(path, matrix)
    for frame in read_video(path):
        assert frame.pixels.shape == expected.shape
        assert frame.pixels.flags.c_contiguous
        centers = np.s_[8::16, 8::16]
        np.testing.assert_allclose(frame.pixels[centers], expected[centers].astype(int), atol=6)


def rgb_of(y, u, v, matrix, color_range):
    """Convert one color by the formulas of BT.601-7 and BT.709-6, clauses 2.5 and 3."""
    red, blue = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722)}[matrix]
    offset, height, width = (16, 219, 224) if color_range == LIMITED else (0, 255, 255)
    luma, cb, cr = (y - offset) / height, (u - 128) / width, (v - 128) / width
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.array([r, g, b]) * 255


def write_yuv(path, color, size, **tags):
    """Write one frame of a color without conversion."""
    frame = av.VideoFrame(size[1], size[0], "yuv420p")
    for plane, value in zip(frame.planes, color, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, height=size[0], width=size[1])
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize("color", [(90, 100, 160), (180, 150, 110), (16, 128, 128)])
@pytest.mark.parametrize("matrix", [BT601, BT709])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_colors_follow_the_tags(tmp_path, color, matrix, color_range):
    tags = {"colorspace": matrix, "color_range": color_range}
    [frame] = read_video(write_yuv(tmp_path / "a.mkv", color, (48, 64), **tags))
    expected = rgb_of(*color, matrix, color_range)
    # FFmpeg's fast conversion is within 3 levels of the formulas; a wrong tag differs by 10.
    np.testing.assert_allclose(frame.pixels[24, 32], expected, atol=3)


@pytest.mark.parametrize(
    ("size", "matrix"), [((576, 704), BT601), ((720, 1280), BT709), ((608, 320), BT709)]
)
def test_colors_without_tags_follow_the_size(tmp_path, size, matrix):
    color = (90, 100, 160)
    path = write_yuv(tmp_path / "a.mkv", color, size, colorspace=UNSPECIFIED)
    [frame] = read_video(path)
    np.testing.assert_allclose(frame.pixels[9, 9], rgb_of(*color, matrix, LIMITED), atol=3)


def test_reads_odd_sizes(tmp_path):
    frames = [flat(70, (33, 47))] * 3
    path = write_clip(
        tmp_path / "a.mkv", pts=range(3), frames=frames, codec="ffv1", pixel_format="bgr0"
    )
    for frame in read_video(path):
        np.testing.assert_array_equal(frame.pixels, frames[0])


def test_closing_the_generator_closes_the_file(clip):
    def open_files():
        return {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux lists open files")
    frames = read_video(clip)
    next(frames)
    assert str(clip) in open_files()
    frames.close()
    assert str(clip) not in open_files()


def test_reads_titles_in_any_encoding(tmp_path):
    path = write_clip(tmp_path / "a.avi", codec="mpeg4", title="garden")
    path.write_bytes(path.read_bytes().replace(b"garden", b"g\xe4rten"))
    assert len(list(read_video(path))) == 10


def test_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        next(read_video(tmp_path / "none.mp4"))


def test_names_a_folder(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.mp4"):
        next(read_video(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"some notes\n" * 50, "Invalid data"), (bytes(5000), "Invalid")],
)
def test_names_a_file_that_is_no_video(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.mp4' as a video: {reason}"):
        next(read_video(path))


def test_does_not_wait_for_a_pipe(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="no regular file"):
        next(read_video(tmp_path / "a.mp4"))


def test_refuses_a_file_of_sound_alone(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        container.mux(list(videos._sound(stream, 48000)))
    with pytest.raises(ValueError, match="no moving pictures"):
        next(read_video(path))


def test_refuses_enormous_frames(tmp_path):
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W30000 H30000 F25:1 C420jpeg\nFRAME\n" + bytes(1000))
    with pytest.raises(ValueError, match=r"a\.y4m"):
        next(read_video(path))


def read_to_the_damage(path):
    """The frames before the damage, and the error."""
    frames = []

    def read():
        for frame in read_video(path):
            frames.append(frame)  # not extend, which loses what came before an error

    with pytest.raises(ValueError, match=f"cannot read '{path}' as a video") as caught:
        read()
    return frames, str(caught.value)


MOVING = [np.roll(CORNERS, (3 * step, 5 * step), (0, 1)) for step in range(60)]
FORMATS = {
    "fast.mp4": {"container_options": {"movflags": "faststart"}},
    "pieces.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mkv": {},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.avi": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_gives_the_frames_before_the_end(tmp_path, name):
    path = tmp_path / name
    options = {"g": "10", "bf": "2" if name != "a.webm" else "0"}
    write_clip(path, pts=range(60), frames=MOVING, codec_options=options, **FORMATS[name])
    whole = list(read_video(path))
    assert len(whole) == 60
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    frames, _ = read_to_the_damage(path)
    assert 5 < len(frames) < 60
    for frame, expected in zip(frames, whole, strict=False):
        np.testing.assert_array_equal(frame.pixels, expected.pixels)


def test_damage_in_the_middle_ends_the_frames(tmp_path):
    path = write_clip(tmp_path / "a.mp4", pts=range(60), frames=MOVING, codec_options={"g": "60"})
    whole = list(read_video(path))
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + len(content) // 3
    content[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    path.write_bytes(content)
    frames, message = read_to_the_damage(path)
    assert f"damaged after {len(frames)} frames" in message
    for frame, expected in zip(frames, whole, strict=False):
        np.testing.assert_array_equal(frame.pixels, expected.pixels)


def test_a_recording_may_start_before_a_key_frame(tmp_path):
    path = write_clip(tmp_path / "a.ts", pts=range(60), frames=MOVING, codec_options={"g": "20"})
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 6 // 188 * 188 :])
    frames = list(read_video(path))
    assert 20 <= len(frames) <= 40
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_reads_recordings_that_were_joined(tmp_path):
    path = write_clip(tmp_path / "a.ts", pts=range(20))
    path.write_bytes(2 * path.read_bytes())
    frames = list(read_video(path))
    assert grey_values(frames) == pytest.approx(2 * list(range(0, 200, 10)), abs=2)
    steps = np.diff([float(frame.time) for frame in frames])
    assert steps == pytest.approx(0.04)  # the second half starts its timestamps anew


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=control:{}\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="1"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
    ],
)
def test_opens_nothing_that_a_file_refers_to(tmp_path, clip, playlist):
    with Loopback() as server:
        for target in (clip.as_uri(), f"{server.url}/a.ts", clip.name):
            path = tmp_path / "playlist.mp4"
            path.write_text(playlist.format(target))
            with pytest.raises(ValueError, match=r"playlist\.mp4"):
                list(read_video(path))
        assert server.requests == []


def test_a_path_is_never_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a.mp4").write_bytes(write_clip(tmp_path / "clip.mp4").read_bytes())
    assert len(list(read_video("concat:a.mp4"))) == 10


def test_reads_an_address(clip):
    with Loopback() as server:
        url = server.serve("/clip.mp4", clip.read_bytes())
        assert len(list(read_video(url))) == 20


def test_names_an_address_that_fails():
    with Loopback() as server, pytest.raises(ValueError, match=rf"{server.url}/none\.mp4.*404"):
        next(read_video(f"{server.url}/none.mp4"))


@pytest.mark.parametrize("target", ["file://{}", "concat:{}", "rtsp://127.0.0.1/{}"])
def test_an_address_cannot_redirect_to_other_kinds_of_sources(clip, target):
    with Loopback() as server:
        moved = Reply(status=302, headers={"Location": target.format(clip)})
        url = server.serve("/clip.mp4", moved)
        with pytest.raises(ValueError, match=rf"cannot read '{url}' as a video"):
            next(read_video(url))


def test_does_not_wait_for_a_silent_address(clip, monkeypatch):
    monkeypatch.setattr(opening, "_TIMEOUT", 1.0)
    with Loopback() as server:
        url = server.serve("/clip.mp4", Reply(clip.read_bytes(), stall=60))
        with pytest.raises(ValueError, match=rf"cannot read '{url}' as a video"):
            list(read_video(url))


def test_reads_a_camera(monkeypatch):
    pattern = {"file": "testsrc2=size=64x48:rate=25", "format": "lavfi", "options": {}}
    monkeypatch.setattr(opening, "_camera", lambda index: pattern)
    frames = read_video(0, every=2)
    first, second = next(frames), next(frames)
    frames.close()
    assert first.pixels.shape == (48, 64, 3)
    assert (first.index, second.index) == (0, 2)
    assert second.time - first.time == Fraction(2, 25)


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are device files on Linux only")
def test_names_a_missing_camera():
    with pytest.raises(FileNotFoundError, match=r"there is no camera.*4321"):
        next(read_video(4321))


def test_says_how_to_install_the_missing_package(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DDRNetError, match=r'pip install "ddrnet\[video\]"'):
        next(read_video(clip))
