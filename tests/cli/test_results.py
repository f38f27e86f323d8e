from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddrnet.cli.results import Results, name_results, write_results
from ddrnet.labels import CITYSCAPES

CLASSES = CITYSCAPES.classes


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


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "deep/er/a.labels.png", tmp_path / "deep/er/a.overlay.png")


@pytest.fixture
def image():
    return torch.randint(0, 256, (3, 65, 97), dtype=torch.uint8)


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
    with pytest.raises(ValueError, match="choose another folder than"):
        name_results([folder / "a.jpg", folder / "a.labels.png"], folder / "link")


def test_an_earlier_result_may_be_written_again(touch):
    folder = touch("a.jpg", "a.labels.png", "a.overlay.png")
    assert name_results([folder / "a.jpg"], folder)[0].labels == folder / "a.labels.png"


def test_write_makes_folders_and_both_files(image, results):
    labels = np.random.default_rng(0).integers(0, 19, (65, 97)).astype(np.uint8)
    write_results(results, image, labels, CLASSES)
    with Image.open(results.labels) as written:
        assert written.mode == "P"
        np.testing.assert_array_equal(np.array(written), labels)
    with Image.open(results.overlay) as written:
        assert written.mode == "RGB"
        assert written.height > 65
    assert {path.name for path in results.labels.parent.iterdir()} == {
        "a.labels.png",
        "a.overlay.png",
    }


def test_a_failed_write_names_the_file_and_leaves_nothing(image, results):
    results.overlay.mkdir(parents=True)
    with pytest.raises(OSError, match=r"a\.overlay\.png"):
        write_results(results, image, np.zeros((65, 97), np.uint8), CLASSES)
    assert {path.name for path in results.labels.parent.iterdir()} == {
        "a.labels.png",
        "a.overlay.png",
    }


def test_results_replace_those_of_an_earlier_run(image, results):
    for index in range(2):
        write_results(results, image, np.full((65, 97), index, np.uint8), CLASSES)
    with Image.open(results.labels) as written:
        assert np.array(written).min() == 1
