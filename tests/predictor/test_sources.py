import os
import re
from pathlib import Path, PurePath

import numpy as np
import pytest
import torch
from PIL import Image

from ddrnet.predictor.sources import find_sources, images_of


@pytest.fixture
def touch(tmp_path):
    """Make empty files below the test's folder and return it."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def names(given):
    return [source.name.as_posix() for source in find_sources(given)]


def failure(given):
    """The error of the only image of the only source."""
    (source,) = find_sources(given)
    (image,) = images_of(source)
    with pytest.raises((OSError, ValueError, TypeError)) as caught:
        image.read(3)
    return caught.value


def test_a_folder_gives_its_images_sorted_with_subfolders(touch):
    folder = touch("b.jpg", "a.PNG", "c/d.tiff", "c/a.webp", "e.bmp", "f.jpeg", "g.tif")
    assert names(folder) == ["a.PNG", "b.jpg", "c/a.webp", "c/d.tiff", "e.bmp", "f.jpeg", "g.tif"]
    assert [source.origin for source in find_sources(folder)][2] == folder / "c/a.webp"


def test_a_folder_passes_over_what_is_no_image(touch):
    assert names(touch("a.png", "notes.txt", ".b.png", ".cache/c.png", "._a.png", "png")) == [
        "a.png"
    ]


def test_a_folder_passes_over_earlier_results(touch):
    folder = touch("a.png", "a.labels.png", "out/a.overlay.png", "out/legend.png", "a.color.png")
    assert names(folder) == ["a.png"]


def test_a_picture_of_a_legend_counts_where_there_is_no_overlay(touch):
    assert names(touch("maps/legend.png")) == ["maps/legend.png"]


def test_a_named_file_counts_whatever_its_name(touch):
    folder = touch("picture", ".hidden.png", "a.labels.png")
    paths = [folder / name for name in ("picture", ".hidden.png", "a.labels.png")]
    assert [source.origin for source in find_sources(paths)] == paths


def test_the_home_folder_may_be_written_short(touch, monkeypatch):
    monkeypatch.setenv("HOME", str(touch("a.png")))
    monkeypatch.setenv("USERPROFILE", os.environ["HOME"])
    (source,) = find_sources("~/a.png")
    assert source.origin == Path(os.environ["HOME"], "a.png")


def test_patterns_keep_the_tree_below_their_fixed_part(touch):
    folder = touch("x/day/1.png", "x/night/1.png", "x/night/1.labels.png", "y/2.png")
    assert names(str(folder / "x/**/*.png")) == ["day/1.png", "night/1.png"]
    assert names(str(folder / "?" / "*.png")) == ["y/2.png"]


def test_patterns_pass_over_earlier_results(touch):
    folder = touch("a.png", "a.overlay.png", "legend.png", "maps/legend.png")
    assert names(str(folder / "*.png")) == ["a.png"]
    assert names(str(folder / "**/*.png")) == ["a.png", "maps/legend.png"]


def test_a_file_with_brackets_in_its_name_is_no_pattern(touch):
    folder = touch("a[1].png")
    assert names(str(folder / "a[1].png")) == ["a[1].png"]


def test_text_files_list_sources_beside_them_or_in_the_current_folder(touch, monkeypatch):
    folder = touch("lists/a.png", "b.png", "photos/c.png")
    text = "a.png\n\n  b.png \nphotos\nhttp://127.0.0.1/d%20e.jpg?size=2\nabsent.png\n"
    (folder / "lists/all.txt").write_text(text, encoding="utf-8-sig")
    monkeypatch.chdir(folder)
    found = list(find_sources("lists/all.txt"))
    assert [str(source.origin) for source in found] == [
        "lists/a.png",
        "b.png",
        "photos/c.png",
        "http://127.0.0.1/d%20e.jpg?size=2",
        "absent.png",
    ]
    assert found[3].name == PurePath("d e.jpg")


def test_a_line_that_finds_nothing_does_not_end_the_list(touch, monkeypatch):
    folder = touch("a.png", "b.png")
    (folder / "all.txt").write_text("a.png\nabsent/*.png\nall.txt\nb.png\n")
    monkeypatch.chdir(folder)
    assert names("all.txt") == ["a.png", "absent/*.png", "all.txt", "b.png"]


def test_iterators_and_images_in_memory_are_sources(touch):
    picture = np.zeros((32, 40, 3), np.uint8)
    given = (item for item in (touch("a.png"), picture, Image.fromarray(picture)))
    images = [image for source in find_sources(given) for image in images_of(source)]
    assert [image.source.endswith("a.png") for image in images] == [True, False, False]
    assert images[1].read(3).shape == images[2].read(3).shape == (3, 32, 40)
    tensor = torch.zeros(3, 32, 40, dtype=torch.uint8)
    (source,) = find_sources(tensor)
    assert source.origin is tensor


def test_arrays_may_be_filled_again_before_they_are_read():
    for buffer in (np.zeros((32, 40, 3), np.uint8), torch.zeros(3, 32, 40, dtype=torch.uint8)):
        found = [image for source in find_sources(buffer) for image in images_of(source)]
        buffer[:] = 9
        assert found[0].read(3).max() == 0


def test_sources_pass_through(touch):
    found = list(find_sources(touch("a.png", "b/c.png")))
    assert list(find_sources(found)) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("absent.png", "absent.png"),
        ("absent/*.png", "no file matches absent/\\*.png"),
        ("absent.txt", "absent.txt"),
        ("empty.txt", "empty.txt names no source"),
        ("latin.txt", "latin.txt is no text in UTF-8"),
        ("folder", "no image in the folder folder; images end in .bmp, .jpeg"),
        (3.5, "got float"),
        (True, "got bool"),
        ("http://[x/y.png", "Invalid IPv6"),
        ("ftp://x/y.png", "cannot fetch ftp://x/y.png: expected an http or https address"),
    ],
)
def test_what_cannot_be_searched_gives_one_failing_image(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes("straße.png".encode("latin-1"))
    (tmp_path / "folder").mkdir()

    assert re.search(message, str(failure([given])))


def test_after_a_failing_item_the_search_goes_on(touch, monkeypatch):
    monkeypatch.chdir(touch("a.png"))
    assert names(["absent/*.png", "a.png"]) == ["absent/*.png", "a.png"]


def frames_of_animation(path, format, **options):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    first, *rest = [Image.new("RGB", (40, 36), color) for color in colors]
    first.save(path, format, save_all=True, append_images=rest, duration=40, **options)
    return colors


@pytest.mark.parametrize(
    ("suffix", "format", "options"),
    [(".gif", "GIF", {}), (".webp", "WEBP", {"lossless": True}), (".png", "PNG", {})],
)
def test_animations_give_every_frame(tmp_path, suffix, format, options):
    path = tmp_path / f"clip{suffix}"
    colors = frames_of_animation(path, format, **options)
    (source,) = find_sources(path)
    images = list(images_of(source))
    assert [image.frame for image in images] == [0, 1, 2, 3]
    for image, color in zip(images, colors, strict=True):
        pixels = image.read(3)
        assert pixels.shape == (3, 36, 40)
        assert np.abs(pixels[:, 5, 5].numpy().astype(int) - color).max() <= 1
    assert [image.frame for image in images_of(source, every=3)] == [0, 3]


def test_a_damaged_animation_gives_its_frames_and_then_the_error(tmp_path):
    path = tmp_path / "clip.gif"
    rng = np.random.default_rng(0)
    first, *rest = [
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(6)
    ]
    first.save(path, save_all=True, append_images=rest, duration=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (source,) = find_sources(path)
    *good, last = images_of(source)
    assert good
    assert all(image.read(3).shape == (3, 64, 64) for image in good)
    assert last.frame == len(good)
    with pytest.raises(ValueError, match=r"cannot read .*clip\.gif"):
        last.read(3)
