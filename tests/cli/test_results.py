from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddrnet.cli.results import Wanted, name_results, write_legend, write_results
from ddrnet.labels import CITYSCAPES
from ddrnet.predictor.segmentation import Segmentation
from ddrnet.predictor.sources import Source, find_sources
from ddrnet.visualize import colorize

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


RNG = np.random.default_rng(0)


@pytest.fixture
def result():
    labels = RNG.integers(0, 19, (65, 97)).astype(np.uint8)
    image = RNG.integers(0, 256, (65, 97, 3), dtype=np.uint8)
    confidence = RNG.random((65, 97), dtype=np.float32)
    return Segmentation(image, labels, CLASSES, confidence)


def files(paths):
    """A source for each file, as if it was named alone."""
    return [Source(Path(path), PurePath(Path(path).name)) for path in paths]


def stems(sources, folder="out"):
    return [stem.as_posix() for stem in name_results(list(sources), Path(folder))]


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def test_results_carry_the_names_of_their_images():
    (stem,) = name_results(files(["photos/street.jpg"]), Path("out"))
    assert Wanted(color=True, confidence=True).files(stem) == {
        "labels": Path("out/street.labels.png"),
        "overlay": Path("out/street.overlay.png"),
        "color": Path("out/street.color.png"),
        "confidence": Path("out/street.confidence.png"),
    }
    assert Wanted(overlay=False).files(stem, 12) == {"labels": Path("out/street/000012.labels.png")}


def test_folders_keep_their_tree(touch):
    folder = touch("x/day/1.png", "x/night/1.png")
    assert stems(find_sources(folder / "x")) == ["out/day/1", "out/night/1"]
    assert stems(find_sources(folder)) == ["out/x/day/1", "out/x/night/1"]


def test_of_two_alike_names_the_folders_are_kept():
    assert stems(files(["x/day/1.png", "x/night/1.png", "x/2.png"])) == [
        "out/day/1",
        "out/night/1",
        "out/2",
    ]


def test_addresses_with_one_name_are_numbered():
    sources = [Source(f"http://127.0.0.1/a.png?{n}", PurePath("a.png")) for n in range(3)]
    assert stems(sources) == ["out/a", "out/a-2", "out/a-3"]


def test_any_number_of_addresses_may_have_one_name():
    sources = [Source(f"http://127.0.0.1/a.png?{n}", PurePath("a.png")) for n in range(20_000)]
    assert stems(sources)[-1] == "out/a-20000"


def test_frames_and_images_do_not_share_a_result():
    paths = ["clip.webp", "clip/000000.png", "other/x/1.png", "other.mp4"]
    sources = [Source(Path(path), PurePath(path)) for path in paths]
    assert stems(sources) == ["out/clip.webp", "out/clip/000000", "out/other/x/1", "out/other.mp4"]


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
    assert stems(files(images)) == [f"out/{name}" for name in expected]


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "A", "b", "a.jpg", "a.jpg.png", "b.png", "a.png"]), min_size=1),
    min_size=1,
    unique_by=lambda parts: "/".join(parts).casefold(),
)


@given(NAMES)
def test_no_two_images_share_a_result(names):
    found = [stem.casefold() for stem in stems(files(Path(*parts) for parts in names), "no/out")]
    assert len(set(found)) == len(names)
    assert all(stem.startswith("no/out/") for stem in found)


def test_a_result_never_overwrites_an_image(touch):
    folder = touch("a.jpg", "a.labels.png")
    images = files([folder / "a.jpg", folder / "a.labels.png"])
    with pytest.raises(ValueError, match=r"a\.jpg would overwrite the image .*a\.labels\.png"):
        name_results(images, folder)
    (folder / "link").symlink_to(folder)
    with pytest.raises(ValueError, match="choose another folder than"):
        name_results(images, folder / "link")


def test_a_legend_never_overwrites_an_image(touch):
    folder = touch("a.jpg", "legend.png")
    with pytest.raises(ValueError, match=r"would overwrite the image .*legend\.png"):
        name_results(list(find_sources(folder)), folder)


def test_an_earlier_result_may_be_written_again(touch):
    folder = touch("a.jpg", "a.labels.png", "a.overlay.png")
    assert name_results(files([folder / "a.jpg"]), folder) == [folder / "a"]


def test_every_kind_of_file_has_the_size_of_the_image(result, tmp_path):
    wanted = Wanted(color=True, confidence=True, note="Mind the gap.")
    paths = wanted.files(tmp_path / "deep/er/a")
    write_results(paths, result, wanted)
    assert np.array_equal(read(paths["labels"]), result.labels)
    assert np.array_equal(read(paths["color"]), colorize(result.labels, CLASSES))
    assert np.array_equal(read(paths["overlay"]), np.array(result.overlay()))
    assert np.abs(read(paths["confidence"]) / 255 - result.confidence).max() <= 0.5 / 255 + 1e-6
    assert {path.name for path in (tmp_path / "deep/er").iterdir()} == {
        path.name for path in paths.values()
    }
    for path in paths.values():
        with Image.open(path) as picture:
            assert picture.size == (97, 65)
            assert picture.text["Comment"] == "Mind the gap."


def test_overlays_show_only_the_wanted_classes(result, tmp_path):
    wanted = Wanted(only=["road", "car"])
    paths = wanted.files(tmp_path / "a")
    write_results(paths, result, wanted)
    changed = (read(paths["overlay"]) != result.image).any(2)
    assert np.array_equal(changed, result.mask("road") | result.mask("car"))


def test_a_legend_goes_below_the_overlay_or_beside_it(result, tmp_path):
    wanted = Wanted(legend=True)
    paths = wanted.files(tmp_path / "a")
    write_results(paths, result, wanted)
    assert read(paths["overlay"]).shape[0] > 65
    write_legend(tmp_path, CLASSES, Wanted(only=["car"]))
    colors = {tuple(color) for color in read(tmp_path / "legend.png").reshape(-1, 3).tolist()}
    assert CITYSCAPES.classes[13].color in colors
    assert CITYSCAPES.classes[0].color not in colors


def test_a_failed_write_names_the_file_and_leaves_nothing(result, tmp_path):
    paths = Wanted().files(tmp_path / "a")
    paths["overlay"].mkdir()
    with pytest.raises(OSError, match=r"a\.overlay\.png"):
        write_results(paths, result, Wanted())
    assert {path.name for path in tmp_path.iterdir()} == {"a.labels.png", "a.overlay.png"}


def test_results_replace_those_of_an_earlier_run(result, tmp_path):
    paths = Wanted().files(tmp_path / "a")
    for index in range(2):
        result.labels[:] = index
        write_results(paths, result, Wanted())
    assert read(paths["labels"]).min() == 1
