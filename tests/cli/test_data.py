import numpy as np
import pytest
from data_files import save_png, write_cityscapes

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
