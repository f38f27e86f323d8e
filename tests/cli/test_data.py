import json
import re

import numpy as np
import pytest
from data_files import save_png, write_cityscapes
from PIL import Image

from ddrnet.cli import main


def test_check_of_a_good_tree(tmp_path, capsys):
    write_cityscapes(tmp_path, {"train": {"aachen": 2}, "val": {"lindau": 1}})
    assert main(["data", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train, fine: 2 images with labels, 0 problems",
        "val, fine: 1 images with labels, 0 problems",
    ]


def test_check_reports_everything_and_fails(tmp_path, capsys):
    write_cityscapes(tmp_path, {"train": {"aachen": 9}})
    labels = tmp_path / "gtFine/train/aachen"
    for frame in range(7):
        (labels / f"aachen_{frame:06d}_000019_gtFine_labelIds.png").unlink()
    save_png(labels / "aachen_000008_000019_gtFine_labelIds.png", np.full((24, 40), 50))
    assert main(["data", "check", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert "aachen_000006_000019_leftImg8bit.png has no labels" in lines[6]
    assert "aachen_000008_000019_gtFine_labelIds.png" in lines[7]
    assert lines[8] == "train, fine: 2 images with labels, 8 problems"


def test_check_of_something_else_is_one_line(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "nowhere does not exist" in told[0]


def test_synthesize_writes_a_tree_that_check_likes(tmp_path, capsys):
    out = str(tmp_path / "streets")
    assert main(["data", "synthesize", out, "--images", "6", "--size", "64x96"]) == 0
    assert f"{out}: 6 streets" in capsys.readouterr().out
    assert main(["data", "check", out]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train, fine: 5 images with labels, 0 problems",
        "val, fine: 1 images with labels, 0 problems",
    ]


def test_synthesize_refuses_a_foreign_folder_in_one_line(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["data", "synthesize", str(tmp_path), "--images", "1"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "notes.txt" in told[0]


@pytest.mark.parametrize("size", ["64", "64x", "axb", "-4x64"])
def test_synthesize_wants_height_and_width(size, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["data", "synthesize", str(tmp_path / "new"), f"--size={size}"])
    assert stopped.value.code == 2
    assert "1024x2048" in capsys.readouterr().err


@pytest.fixture
def own(tmp_path):
    """Own data of three classes and an unlabelled value, in splits."""
    for split, value in (("train", 4), ("val", 2)):
        save_png(tmp_path / "images" / split / "a.png", np.zeros((8, 8, 3)))
        labels = np.zeros((8, 8))
        labels[:4] = value
        save_png(tmp_path / "labels" / split / "a.png", labels)
    (tmp_path / "classes.txt").write_text("water\nland\nsnow\nunlabelled 4 ignore\n")
    return tmp_path


def test_check_lists_every_bad_mask_of_own_data(own, capsys):
    assert main(["data", "check", str(own)]) == 0
    (own / "classes.txt").write_text("water\nland\n")
    assert main(["data", "check", str(own)]) == 1
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(":")[0] for line in lines if "problems" in line] == ["train", "val"]
    assert "train/a.png holds" in lines[0]
    assert re.search(r"'unlabelled \d+ ignore' in it", lines[0])
    assert "val/a.png holds" in lines[2]


def test_check_prints_json(own, capsys):
    (own / "labels/val/a.png").write_bytes(b"")
    assert main(["data", "check", str(own), "--json"]) == 1
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert splits["train"] == {"images": 1, "problems": []}
    assert "the file is empty" in splits["val"]["problems"][0]


def test_stats_measure_a_split(own, capsys):
    picture = own / "new/shares.png"
    assert main(["data", "stats", str(own), "--split", "val", "--out", str(picture)]) == 0
    output = capsys.readouterr().out
    assert [line.split() for line in output.splitlines()[:4]] == [
        ["class", "pixels", "images"],
        ["water", "50.00%", "1"],
        ["land", "0.00%", "0"],
        ["snow", "50.00%", "1"],
    ]
    assert "val: 1 images, 0.00% of the pixels ignored" in output
    assert "8 x 8 (1)" in output
    with Image.open(picture) as drawn:
        assert drawn.width > 400


def test_stats_of_ignored_pixels_alone_have_no_shares(own, capsys):
    save_png(own / "labels/val/a.png", np.full((8, 8), 255))
    assert main(["data", "stats", str(own), "--split", "val"]) == 0
    output = capsys.readouterr().out
    assert output.splitlines()[1].split() == ["water", "-", "0"]
    assert "val: 1 images, 100.00% of the pixels ignored" in output


def test_stats_print_json(own, capsys):
    assert main(["data", "stats", str(own), "--split", "train", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["split"], fields["images"], fields["ignored"]) == ("train", 1, 0.5)
    assert fields["sizes"] == [{"height": 8, "width": 8, "images": 1}]
    assert fields["classes"][0] == {"name": "water", "share": 1.0, "images": 1}


def test_stats_measure_the_split_that_trains(own, capsys):
    assert main(["data", "stats", str(own)]) == 0
    assert "\ntrain: 1 images" in capsys.readouterr().out
    assert main(["data", "stats", str(own), "--split", "val"]) == 0
    assert "\nval: 1 images" in capsys.readouterr().out
