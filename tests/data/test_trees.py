from pathlib import Path

import pytest

from ddrnet.data.trees import Scan, paired
from ddrnet.errors import DatasetError
from ddrnet.labels import LabelTable, class_labels

TABLE = LabelTable("own", class_labels(["a"]))


def files(*names):
    return {name: Path(f"{name}.png") for name in names}


def test_names_with_both_files_are_samples_sorted_by_name():
    samples, problems = paired(files("c", "a"), files("a", "c"), TABLE)
    assert [(sample.name, sample.image, sample.labels) for sample in samples] == [
        ("a", Path("a.png"), Path("a.png")),
        ("c", Path("c.png"), Path("c.png")),
    ]
    assert problems == ()


def test_a_file_without_its_counterpart_is_a_problem():
    samples, problems = paired(files("a", "b"), files("a", "c"), TABLE)
    assert [sample.name for sample in samples] == ["a"]
    assert problems == ("b.png has no labels", "c.png has no image")


def test_scans_add_up():
    samples, _ = paired(files("a", "b"), files("a", "b"), TABLE)
    both = Scan(samples[:1], (), ("x",)) + Scan(samples[1:], ("p",), ("y",))
    assert both == Scan(samples, ("p",), ("x", "y"))


def test_a_scan_without_problems_gives_its_samples(tmp_path):
    samples, _ = paired(files("a"), files("a"), TABLE)
    assert Scan(samples, (), ()).complete_samples("split", tmp_path) == samples


def test_the_error_shows_problems_expected_and_found_and_shortens_them(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(7):
        (tmp_path / "images" / f"{number}.png").touch()
    (tmp_path / "notes.txt").touch()
    scan = Scan((), tuple(f"problem {number}" for number in range(8)), ("images/NAME.png",))
    with pytest.raises(DatasetError) as caught:
        scan.complete_samples("split 'val'", tmp_path)
    assert str(caught.value).splitlines() == [
        f"{tmp_path} holds no complete split 'val':",
        *(f"  problem {number}" for number in range(5)),
        "  and 3 more",
        "expected:",
        "  images/NAME.png",
        "found:",
        "  images/: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more",
        "  notes.txt",
    ]


@pytest.mark.parametrize(
    ("name", "found"),
    [("absent", "absent does not exist"), ("file", "file is a file"), ("empty", "nothing")],
)
def test_the_error_says_what_else_the_root_is(tmp_path, name, found):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert str(Scan((), ("p",), ()).error("tree", tmp_path / name)).endswith(found)
