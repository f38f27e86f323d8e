import subprocess
import sys

import pytest
import torch
from exported_files import NAME, expected_logits, nano, photos

from ddrnet.cli import main


@pytest.mark.slow
def test_writes_a_file_and_prints_the_differences(tmp_path, capsys):
    path = tmp_path / "nano.pt2"
    command = ["export", NAME, str(path), "--output", "logits", "--size", "64x96", "--batch", "1"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{path}: logits, ")
    assert shown.err.startswith("1 x 64 x 96: logits differ by at most ")
    images = photos(1, 64, 96)
    logits = torch.export.load(path).module()(torch.from_numpy(images))
    torch.testing.assert_close(logits, expected_logits(images, nano()), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_compares_an_old_file_with_the_weights_that_it_names(exported, capsys):
    path = exported("nano.labels.onnx")
    assert main(["export", "--verify", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{path} computes what its model computes\n"
    assert len(shown.err.splitlines()) == 6
    assert "0.00% of the labels differ" in shown.err


def test_a_damaged_file_gives_one_line(exported, tmp_path, capsys):
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported("nano.labels.onnx").read_bytes()[:5000])
    assert main(["export", "--verify", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ddrnet: error: {path} is no ONNX file of ddrnet.export")


def test_an_existing_file_stays_without_force(tmp_path, capsys):
    path = tmp_path / "old.onnx"
    path.write_bytes(b"old")
    assert main(["export", NAME, str(path)]) == 1
    assert "--force overwrites it" in capsys.readouterr().err
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    "arguments",
    [[], [NAME], ["--verify", "a.onnx", NAME, "b.onnx"], [NAME, "a.onnx", "--size", "large"]],
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(["export", *arguments])
    assert stop.value.code == 2


def test_a_wrong_suffix_fetches_no_weights(tmp_path, capsys):
    assert main(["export", "ddrnet_23_slim", str(tmp_path / "a.trt")]) == 1
    assert ".onnx, or .pt2" in capsys.readouterr().err


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # importing it fails as if it were not installed
from ddrnet.cli import main
sys.exit(main(["export", sys.argv[2], sys.argv[3], "--size", "64x64", "--batch", "1"]))
"""


@pytest.mark.parametrize(
    "missing",
    [
        "onnx",
        pytest.param("onnxscript", marks=pytest.mark.slow),
        pytest.param("onnxruntime", marks=pytest.mark.slow),
    ],
)
def test_without_the_extra_one_line_says_what_to_install(missing, tmp_path):
    path = tmp_path / "model.onnx"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, NAME, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert 'pip install "ddrnet[export]"' in line
    assert not path.exists()
