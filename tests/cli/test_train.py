"""`ddrnet train`: options, recipes, help."""

import json
import shlex
import subprocess
import sys

import pytest

from ddrnet.cli import main
from ddrnet.training import RECIPES, Settings


def printed_config(words, capsys):
    assert main(["train", *shlex.split(words), "--print-config"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", RECIPES)
def test_any_option_overrides_any_recipe(name, capsys):
    shown = printed_config(f"--recipe {name} --lr 0.5 --crop-size 64 --scale 1 2", capsys)
    recipe = RECIPES[name].settings.changed({"lr": 0.5, "crop_size": (64, 64), "scale": (1.0, 2.0)})
    assert shown == json.loads(recipe.to_json())


def test_the_known_command_is_understood(capsys):
    words = "--model ddrnet_23 --lr 0.001 --epochs 50 --data-path ROOT"
    shown = printed_config(words, capsys)
    assert (shown["model"], shown["lr"], shown["epochs"]) == ("ddrnet_23", 0.001, 50)
    assert shown["data_path"] == "ROOT"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--batch-size 0", "from 1 up, got '0'"),
        ("--workers -1", "from 0 up, got '-1'"),
        ("--epochs 1.5", "from 1 up, got '1.5'"),
        ("--crop-size 10x", "N or HxW in pixels, got '10x'"),
        ("--recipe unknown", "paper"),
        ("--recipe paper --resume", "not allowed with argument --recipe"),
        ("--lr nan", "from 0 up, got 'nan'"),
        ("--aux-weight -1", "from 0 up, got '-1'"),
        ("--ema 2", "from 0 to 1, got '2'"),
        ("--optimiser sgd", "unrecognized arguments: --optimiser"),
    ],
)
def test_wrong_usage_says_what_is_expected(words, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["train", *shlex.split(words)])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_every_setting_with_its_default_and_every_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for name in vars(Settings()):
        assert f"--{name.replace('_', '-')}" in shown
    assert shown.count("(default: ") == len(vars(Settings()))
    for name in RECIPES:
        assert f" {name}: " in shown


WITHOUT = """
import sys
sys.modules[{missing!r}] = None  # importing it fails as if it were not installed
from ddrnet.cli import main
sys.exit(main(["train", "--data", "synthetic", "--output", {folder!r}]))
"""


@pytest.mark.parametrize(
    "missing",
    [
        "accelerate",
        pytest.param("matplotlib", marks=pytest.mark.slow),
        pytest.param("psutil", marks=pytest.mark.slow),
        pytest.param("tensorboard", marks=pytest.mark.slow),
    ],
)
def test_without_the_extra_one_line_says_what_to_install(missing, tmp_path):
    code = WITHOUT.format(missing=missing, folder=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"ddrnet: error: training needs {missing}, which is not installed: "
        'pip install "ddrnet[train]"'
    )
    assert not list(tmp_path.iterdir())


def test_continue_names_the_run_by_itself(capsys):
    assert main(["train", "--continue", "--resume", "runs/other"]) == 1
    assert "leave out --resume" in capsys.readouterr().err


def test_help_and_settings_load_no_torch():
    code = (
        "import sys; from ddrnet.cli import main; from ddrnet.training import Settings; "
        "main(['train', '--print-config']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
