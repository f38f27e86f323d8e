"""`ddrnet predict` on exported files against the same command on the model."""

import shutil

import numpy as np
import pytest
from exported_files import NAME, photos
from PIL import Image

from ddrnet.cli import main


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(photos(1, 96, 128)[0]).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def labels(photo, out, *options):
    assert main(["predict", photo, "--out", str(out), "--no-overlay", *options]) == 0
    return np.asarray(Image.open(out / "photo.labels.png"))


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--backend", "openvino", "--threads", "1"]])
def test_a_file_gives_the_labels_of_its_model(options, photo, exported, tmp_path):
    path = str(exported("nano.labels.onnx"))
    found = labels(photo, tmp_path / "file", "--model", path, *options)
    expected = labels(photo, tmp_path / "model", "--model", NAME)
    assert (found == expected).mean() > 0.9999
    assert len(np.unique(found)) > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "torch"], "torch cannot run"),
        (["--checkpoint", "any.pth"], "--checkpoint has no effect"),
        (["--precision", "bfloat16"], "are for torch"),
        (["--providers", "NoSuchProvider"], "has no NoSuchProvider"),
    ],
)
def test_options_that_do_not_fit_a_file_give_one_line(options, words, photo, exported, capsys):
    assert main(["predict", photo, "--model", str(exported("nano.labels.onnx")), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_damaged_file_gives_one_line(photo, exported, tmp_path, capsys):
    path = tmp_path / "cut.onnx"
    shutil.copy(exported("nano.labels.onnx"), path)
    path.write_bytes(path.read_bytes()[:5000])
    assert main(["predict", photo, "--model", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ddrnet: error: {path} is no ONNX file of ddrnet.export")
