import os
from pathlib import Path

import pytest

from ddrnet.predictor.sources import find_images


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


def names_below(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_a_folder_gives_its_images_sorted_with_subfolders(touch):
    folder = touch("b.jpg", "a.PNG", "c/d.tiff", "c/a.webp", "e.bmp", "f.jpeg", "g.tif")
    found = names_below(folder, find_images([folder]))
    assert sorted(found) == found
    assert set(found) == {"b.jpg", "a.PNG", "c/d.tiff", "c/a.webp", "e.bmp", "f.jpeg", "g.tif"}


def test_a_folder_passes_over_what_is_no_image(touch):
    folder = touch("a.png", "notes.txt", ".hidden.png", ".cache/b.png", "._a.png", "png")
    assert names_below(folder, find_images([folder])) == ["a.png"]


def test_a_folder_passes_over_earlier_results(touch):
    folder = touch("a.png", "a.labels.png", "out/a.overlay.png")
    assert names_below(folder, find_images([folder])) == ["a.png"]


def test_a_named_file_counts_whatever_its_name(touch):
    folder = touch("picture", ".hidden.png", "a.labels.png")
    paths = [folder / name for name in ("picture", ".hidden.png", "a.labels.png")]
    assert find_images(paths) == paths


def test_an_image_named_twice_counts_once_in_the_order_given(touch, monkeypatch):
    folder = touch("b.png", "a/c.png")
    monkeypatch.chdir(folder)
    paths = ["b.png", "a", "a/../b.png", folder / "a/c.png", "."]
    assert find_images(paths) == [Path("b.png"), Path("a/c.png")]


def test_the_home_folder_may_be_written_short(touch, monkeypatch):
    monkeypatch.setenv("HOME", str(touch("a.png")))
    monkeypatch.setenv("USERPROFILE", os.environ["HOME"])
    assert find_images(["~/a.png"]) == [Path(os.environ["HOME"], "a.png")]


def test_what_does_not_exist_raises(touch):
    folder = touch("a.png")
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*absent\.png"):
        find_images([folder / "a.png", folder / "absent.png"])


def test_a_folder_without_images_raises(touch):
    with pytest.raises(ValueError, match=r"no image in the folder .*images end in \.bmp, \.jpeg"):
        find_images([touch("notes.txt")])
