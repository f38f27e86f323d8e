import json

import pytest
from PIL import Image

from ddrnet.benchmark import measuring
from ddrnet.cli import main

NANO = "ddrnet_23_nano.synthetic"
TINY = ("--models", NANO, "--sizes", "64x96", "--repeats", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(measuring, "peak_mib", lambda *_: None)


def run(*arguments):
    return main(["benchmark", *map(str, arguments)])


def test_prints_conditions_weights_folding_and_a_row_per_way(capsys):
    assert run(*TINY, "--precision", "float32", "bfloat16", "--threads", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "torch" in lines[0]
    assert f"weights {NANO}, loaded strictly" in lines[1]
    assert "after folding" in lines[1]
    for line, way in zip(lines[-3:], ("plain", "torch float32", "torch bfloat16"), strict=True):
        assert f"1        {way}  " in line


def test_writes_markdown_json_and_plot(tmp_path, capsys):
    files = "--json", tmp_path / "times.json", "--plot", tmp_path / "plot.png"
    assert run(*TINY, *files, "--markdown") == 0
    out = capsys.readouterr().out
    assert "| model | size |" in out
    assert f"| {NANO} | 64 x 96 |" in out
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert [row["way"]["backend"] for row in rows] == ["plain", "torch"]
    assert Image.open(tmp_path / "plot.png").width > 100


def test_a_given_picture_keeps_its_size(tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    Image.effect_noise((70, 50), 80).convert("RGB").save(photo)
    assert run("--models", NANO, "--image", photo, "--repeats", 1, "--device", "cpu") == 0
    assert "50 x 70" in capsys.readouterr().out


def test_random_weights_are_loud(capsys):
    assert run("--random-weights", "ddrnet_23_nano", *TINY[2:]) == 0
    captured = capsys.readouterr()
    assert "RANDOM WEIGHTS" in captured.err
    assert captured.out.count("RANDOM WEIGHTS") == 3


def test_trained_and_random_weights_stand_in_one_table(capsys):
    assert run(*TINY, "--random-weights", "ddrnet_23_nano") == 0
    rows = capsys.readouterr().out.splitlines()[-4:]
    assert ["RANDOM" in row for row in rows] == [False, False, True, True]


def test_rows_measured_before_an_error_are_kept(tmp_path, capsys):
    models = "--models", NANO, "ddrnet_23_tiny"
    assert run(*models, *TINY[2:], "--json", tmp_path / "times.json") == 1
    captured = capsys.readouterr()
    assert captured.out.count(f"{NANO}  64 x 96") == 2
    assert "unknown model 'ddrnet_23_tiny'" in captured.err
    assert len(json.loads((tmp_path / "times.json").read_text())["rows"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--repeats", "0"), "1 or more"),
        (("--threads", "0"), "1 or more"),
        (("--sizes", "8x8"), "from 32 up"),
        (("--json", "absent/times.json"), "no folder absent"),
        (("--plot", "absent/plot.png"), "no folder absent"),
        (("--image", "absent.png"), "absent.png"),
        (("--device", "toaster"), "toaster"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*TINY, *arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_size_that_is_none_is_wrong_usage():
    with pytest.raises(SystemExit) as exit_:
        run("--sizes", "64")
    assert exit_.value.code == 2
