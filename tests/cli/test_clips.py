"""`ddrnet predict --out clip.mp4`."""

import json
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
from PIL import Image
from videos import timestamps, write_clip

import ddrnet
from ddrnet.cli import main
from ddrnet.predictor import sources
from ddrnet.predictor.video import Frame, read_video

CAMVID = "ddrnet_23_nano.camvid"


@pytest.fixture(scope="module")
def streets():
    """Rendered streets, (H, W, 3) each."""
    found = ddrnet.data.SyntheticStreets(6, (64, 96))
    return [found[index][0].permute(1, 2, 0).numpy() for index in range(6)]


@pytest.fixture
def predict(tmp_path, capsys):
    def run(*arguments, out="out.mp4"):
        command = ["predict", *arguments, "--model", CAMVID, "--device", "cpu"]
        command += ["--out", tmp_path / out]
        return main([str(part) for part in command]), *capsys.readouterr()

    return run


def test_a_video_keeps_frames_times_and_sound(streets, predict, tmp_path):
    moments = [7, 8, 10, 15, 16, 30]
    clip = write_clip(tmp_path / "clip.mp4", frames=streets, pts=moments, audio="aac")
    code, output, errors = predict(clip)
    assert code == 0, errors
    assert timestamps(tmp_path / "out.mp4") == timestamps(clip)
    assert "out.mp4: 6 frames, " in output
    assert "per second; median milliseconds per frame: " in output
    with av.open(str(tmp_path / "out.mp4")) as written, av.open(str(clip)) as source:
        sounds = [
            [bytes(packet) for packet in container.demux(audio=0) if packet.size]
            for container in (written, source)
        ]
    assert sounds[0] == sounds[1] != []
    predictor = ddrnet.Predictor(CAMVID, device="cpu")
    for frame, source in zip(read_video(tmp_path / "out.mp4"), read_video(clip), strict=True):
        expected = np.asarray(predictor(source.pixels).overlay())
        assert np.abs(frame.pixels.astype(int) - expected).mean() < 8  # compression


def test_every_second_frame(streets, predict, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=streets, pts=range(6))
    assert predict(clip, "--every", "2")[0] == 0
    assert timestamps(tmp_path / "out.mp4") == [Fraction(n, 25) for n in (0, 2, 4)]


def test_colors_alone(streets, predict, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=streets[:1], pts=[0])
    assert predict(clip, "--color")[0] == 0
    (frame,) = read_video(tmp_path / "out.mp4")
    result = ddrnet.Predictor(CAMVID, device="cpu")(next(read_video(clip)).pixels)
    expected = ddrnet.visualize.colorize(result.labels, result.classes)
    assert np.median(np.abs(frame.pixels.astype(int) - expected)) < 8


def test_images_follow_each_other(streets, predict, tmp_path):
    for index, street in enumerate(streets):
        Image.fromarray(street).save(tmp_path / f"{index}.png")
    code, output, _ = predict(tmp_path / "?.png", "--fps", "30000/1001", "--json")
    assert code == 0
    assert timestamps(tmp_path / "out.mp4") == [Fraction(1001 * n, 30000) for n in range(6)]
    rows = [json.loads(line) for line in output.splitlines()]
    assert [row["source"][-5:] for row in rows] == [f"{index}.png" for index in range(6)]


def test_an_animation_keeps_its_times(streets, predict, tmp_path):
    first, *rest = map(Image.fromarray, streets[:3])
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=[40, 200, 100])
    assert predict(tmp_path / "a.gif")[0] == 0
    assert timestamps(tmp_path / "out.mp4") == [Fraction(n, 1000) for n in (0, 40, 240)]


def test_frames_as_files(streets, predict, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=streets[:3], pts=range(3))
    assert predict(clip, out="results")[0] == 0
    found = {path.relative_to(tmp_path / "results").as_posix() for path in tmp_path.rglob("*.png")}
    names = [f"clip/00000{index}" for index in range(3)]
    assert found == {
        *(f"{name}.labels.png" for name in names),
        *(f"{name}.overlay.png" for name in names),
        "clip/legend.png",
    }


def test_a_damaged_video_gives_the_frames_before_the_damage(predict, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    clip = write_clip(tmp_path / "clip.mkv", frames=list(noise), pts=range(30))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    code, output, errors = predict(clip)
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert "clip.mkv" in errors
    written = len(timestamps(tmp_path / "out.mp4"))
    assert 0 < written < 30
    assert f"out.mp4: {written} frames" in output


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_what_is_no_video_leaves_no_file(predict, tmp_path, content):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(content)
    code, output, errors = predict(clip)
    assert code == 1
    assert "clip.mp4" in errors
    assert len(errors.splitlines()) == 1
    assert not output
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_images_of_several_sizes_are_refused(streets, predict, tmp_path):
    Image.fromarray(streets[0]).save(tmp_path / "0.png")
    Image.fromarray(streets[0][:48]).save(tmp_path / "1.png")
    code, _, errors = predict(tmp_path / "?.png")
    assert code == 1
    assert "out.mp4" in errors
    assert {path.name for path in tmp_path.iterdir()} == {"0.png", "1.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--legend"], "--legend is for a folder of results"),
        (["--skip-existing"], "--skip-existing is for a folder of results"),
        (["--fps", "0"], "--fps is a number of frames per second above 0"),
    ],
)
def test_options_that_do_not_fit_a_video_are_refused(
    streets, predict, tmp_path, arguments, message
):
    Image.fromarray(streets[0]).save(tmp_path / "0.png")
    code, _, errors = predict(tmp_path / "0.png", *arguments)
    assert code == 1
    assert message in errors


def test_the_source_is_not_overwritten(streets, predict, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=streets, pts=range(6))
    before = clip.read_bytes()
    still = tmp_path / "still.png"
    Image.fromarray(streets[0]).save(still)
    for given in ([clip], [clip, still]):
        code, _, errors = predict(*given, out="clip.mp4")
        assert code == 1
        assert "would overwrite the video" in errors
        assert clip.read_bytes() == before


def test_ctrl_c_ends_the_recording_of_a_camera(streets, predict, tmp_path, monkeypatch):
    def camera(source, *, every):
        for index, street in enumerate(streets):
            if index == 4:
                raise KeyboardInterrupt
            yield Frame(street, index, index, Fraction(1, 30))

    monkeypatch.setattr(sources, "read_video", camera)
    code, output, errors = predict("0")
    assert code == 0, errors
    assert timestamps(tmp_path / "out.mp4") == [Fraction(n, 30) for n in range(4)]
    assert "4 frames" in output


def test_ctrl_c_leaves_no_part_of_a_file(streets, predict, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip.mp4", frames=streets, pts=range(6))

    def interrupted(source, *, every):
        yield from islice(read_video(source), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "read_video", interrupted)
    assert predict(clip)[0] == 130
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
