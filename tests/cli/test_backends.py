"""`ddrnet predict` and `ddrnet evaluate` on exported files against the same on the model."""

import json
import shutil

import numpy as np
import pytest
from data_files import save_png
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


@pytest.fixture
def data(tmp_path):
    """A folder of own data: two images of different sizes with labels."""
    for index, size in enumerate([(96, 128), (64, 90)]):
        save_png(tmp_path / "data" / "images" / f"{index}.png", photos(1, *size)[0])
        labels = np.random.default_rng(index).integers(0, 11, size, np.uint8)
        save_png(tmp_path / "data" / "labels" / f"{index}.png", labels)
    return str(tmp_path / "data")


def scores(capsys, data, *options):
    command = ["evaluate", "--data-path", data, "--workers", "0", "--json", *options]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--flip", "--scales", "1"], ["--backend", "openvino"]])
def test_a_file_has_the_scores_of_its_model(options, data, exported, capsys):
    found = scores(capsys, data, "--model", str(exported("nano.labels.onnx")), *options)
    views = [option for option in options if option not in ("--backend", "openvino")]
    expected = scores(capsys, data, "--model", NAME, *views)
    assert found["mean_iou"] == pytest.approx(expected["mean_iou"], abs=1e-3)
    assert found["backend"] == ("openvino" if "openvino" in options else "onnxruntime")
    assert (expected["backend"], found["images"]) == ("torch", 2)


@pytest.mark.parametrize("options", [["--amp", "bfloat16"], ["--scales", "0.5", "1"]])
def test_views_that_only_torch_has_give_one_line(options, data, exported, capsys):
    model = str(exported("nano.labels.onnx"))
    assert main(["evaluate", "--data-path", data, "--model", model, *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "only torch has" in line
