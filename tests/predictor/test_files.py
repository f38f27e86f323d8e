import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.predictor.files import find_images, name_results


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


def test_results_carry_the_names_of_their_images():
    (results,) = name_results([Path("photos/street.jpg")], Path("out"))
    assert results.labels == Path("out/street.labels.png")
    assert results.overlay == Path("out/street.overlay.png")


def test_subfolders_below_the_common_folder_are_kept():
    images = [Path("x/day/1.png"), Path("x/night/1.png"), Path("x/2.png")]
    found = [results.labels.as_posix() for results in name_results(images, Path("out"))]
    assert found == ["out/day/1.labels.png", "out/night/1.labels.png", "out/2.labels.png"]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "A.png"], ["a.jpg", "A.png"]),
        (["a", "a.jpg"], ["a", "a.jpg"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["a.b.jpg"], ["a.b"]),
    ],
)
def test_an_ending_stays_where_names_would_be_alike(images, expected):
    found = name_results([Path(image) for image in images], Path("out"))
    assert [results.overlay.name for results in found] == [f"{e}.overlay.png" for e in expected]


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "A", "b", "a.jpg", "a.jpg.png", "b.png", "a.png"]), min_size=1),
    min_size=1,
    unique_by=lambda parts: "/".join(parts).casefold(),
)


@given(NAMES)
def test_no_two_images_share_a_result(names):
    results = name_results([Path(*parts) for parts in names], Path("nowhere/out"))
    files = [str(path).casefold() for pair in results for path in pair]
    assert len(set(files)) == 2 * len(names)
    assert all(file.startswith("nowhere") for file in files)


def test_a_result_never_overwrites_an_image(touch):
    folder = touch("a.jpg", "a.labels.png")
    with pytest.raises(ValueError, match=r"a\.jpg would overwrite the image .*a\.labels\.png"):
        name_results([folder / "a.jpg", folder / "a.labels.png"], folder)
    (folder / "link").symlink_to(folder)
    with pytest.raises(ValueError, match="choose another folder for them"):
        name_results([folder / "a.jpg", folder / "a.labels.png"], folder / "link")


def test_an_earlier_result_may_be_written_again(touch):
    folder = touch("a.jpg", "a.labels.png", "a.overlay.png")
    assert name_results([folder / "a.jpg"], folder)[0].labels == folder / "a.labels.png"
