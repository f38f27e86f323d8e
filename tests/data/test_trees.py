"""Pairs of files, and the error about an incomplete folder."""

from pathlib import Path

import pytest

from ddrnet.data.samples import Sample
from ddrnet.data.trees import Scan, paired
from ddrnet.errors import DatasetError
from ddrnet.labels import CAMVID

ROOT = Path("root")


def files(folder, *names):
    return {name: ROOT / folder / f"{name}.png" for name in names}


def sample(name):
    return Sample(name, ROOT / "images" / f"{name}.png", ROOT / "labels" / f"{name}.png", CAMVID)


def test_pairs_by_name_and_sorts():
    images, labels = files("images", "c", "a", "b"), files("labels", "b", "c", "a")
    assert paired(images, labels, CAMVID) == ((sample("a"), sample("b"), sample("c")), ())


def test_names_every_file_without_a_partner():
    samples, problems = paired(files("images", "a", "b"), files("labels", "b", "c"), CAMVID)
    assert samples == (sample("b"),)
    assert problems == ("root/images/a.png has no labels", "root/labels/c.png has no image")


def test_scans_add_up():
    first, second = Scan((sample("a"),), (), ("images",)), Scan((), ("gone",), ("labels",))
    assert first + second == Scan((sample("a"),), ("gone",), ("images", "labels"))


def test_a_complete_scan_gives_its_samples(tmp_path):
    scan = Scan((sample("a"),), (), ("images",))
    assert scan.complete_samples("split 'val'", tmp_path / "absent") == (sample("a"),)


def message(scan, root):
    with pytest.raises(DatasetError) as error:
        scan.complete_samples("split 'val'", root)
    return str(error.value)


def test_the_error_shows_problems_expectation_and_content(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    assert message(
        Scan((), ("labels is missing",), ("images", "labels")), tmp_path
    ).splitlines() == [
        f"{tmp_path} holds no complete split 'val':",
        "  labels is missing",
        "expected:",
        "  images",
        "  labels",
        "found:",
        "  empty/: empty",
        "  images/: a.png",
        "  notes.txt",
    ]


def test_the_error_stays_short(tmp_path):
    for index in range(30):
        (tmp_path / f"{index:02}").mkdir()
        (tmp_path / "00" / f"{index:02}.png").touch()
    said = message(Scan((), tuple(f"{index} is missing" for index in range(12)), ()), tmp_path)
    assert len(said.splitlines()) < 25
    assert "  4 is missing\n  and 7 more\n" in said
    assert "  00/: 00.png, 01.png, 02.png, 03.png, 04.png and 25 more\n" in said
    assert said.endswith("  09/: empty\n  and 20 more")


def test_a_folder_that_is_absent_empty_or_a_file_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    scan = Scan((), ("no images",), ("images",))
    assert message(scan, tmp_path / "empty").endswith("found:\n  nothing")
    assert message(scan, tmp_path / "file").endswith(f"found:\n  {tmp_path / 'file'} is a file")
    absent = tmp_path / "absent"
    assert message(scan, absent).endswith(f"found:\n  {absent} does not exist")
