"""`ddrnet demo`: a picture and its scores, from nothing but the package."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ddrnet.cli import main
from ddrnet.cli.demo import MODEL, PICTURE
from ddrnet.registry import get_weights


def test_the_demo_writes_three_pictures_in_one_and_prints_scores(tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["demo", "--out", str(tmp_path / "new"), "--street", "3"]) == 0
    printed = capsys.readouterr()
    assert "mean IoU" in printed.out
    assert "rendered streets alone" in printed.err
    with Image.open(tmp_path / "new" / PICTURE) as picture:
        assert "rendered streets alone" in picture.text["Comment"]
        height, width = get_weights(MODEL).metrics[0].resolution
        gap = (picture.width - 3 * width) // 2
        pixels = np.array(picture)[:height]
    image, labels, blended = (pixels[:, at * (width + gap) :][:, :width] for at in range(3))
    expected = 0.45 * image + 0.55 * labels
    assert np.abs(blended - expected).max() <= 2


def test_the_demo_runs_in_the_current_folder(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "ddrnet", "demo"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert [path.name for path in tmp_path.iterdir()] == [PICTURE]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert "ddrnet: error" in capsys.readouterr().err


def test_a_street_that_is_no_number_is_wrong_usage():
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--street", "nonsense"])
    assert exit_.value.code == 2
