import numpy as np
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
