"""The command line and the recipes in examples/recipes.py."""

import json
import shlex

import pytest
import recipes
import train


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_any_argument_overrides_any_recipe(name, capsys):
    assert train.main(["--recipe", name, "--lr", "0.5", "--crop-size", "64", "--print-config"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["lr"], shown["crop_size"]) == (0.5, [64, 64])
    for key, value in recipes.RECIPES[name].settings.items():
        assert key == "lr" or shown[key] == value


def test_the_known_command_is_understood():
    words = shlex.split("--model ddrnet_23 --lr 0.001 --epochs 50 --data-path ROOT")
    settings = recipes.parse(words).settings()
    assert (settings.model, settings.lr, settings.epochs) == ("ddrnet_23", 0.001, 50)
    assert (settings.data, settings.data_path) == ("cityscapes", "ROOT")


def test_a_count_of_pixels_replaces_the_share_of_a_recipe():
    settings = recipes.parse(["--recipe", "single-gpu", "--min-kept", "500"]).settings()
    assert (settings.min_kept, settings.min_kept_fraction) == (500, None)


def test_what_was_typed_stands_above_the_checkpoint_above_the_recipe():
    command = recipes.parse(["--recipe", "single-gpu", "--lr", "0.5"])
    settings = command.settings({"lr": 0.25, "batch_size": 7})
    assert (settings.lr, settings.batch_size) == (0.5, 7)
    assert settings.epochs == recipes.SINGLE_GPU.settings["epochs"]
    with pytest.raises(ValueError, match="unknown settings: \\['colour'\\]"):
        command.settings({"colour": 1})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--batch-size 0", "from 1 up, got '0'"),
        ("--workers -1", "from 0 up, got '-1'"),
        ("--epochs 1.5", "from 1 up, got '1.5'"),
        ("--crop-size 10x", "N or HxW in pixels, got '10x'"),
        ("--recipe unknown", "paper"),
        ("--recipe paper --resume", "--recipe does not go with --resume"),
        ("--lr nan", "from 0 up, got 'nan'"),
        ("--aux-weight -1", "from 0 up, got '-1'"),
        ("--ema 2", "from 0 to 1, got '2'"),
        ("--optimiser sgd", "unrecognized arguments: --optimiser"),
    ],
)
def test_wrong_usage_says_what_is_expected(words, message, capsys):
    with pytest.raises(SystemExit) as exit:
        recipes.parse(shlex.split(words))
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_every_setting_and_recipe(capsys):
    with pytest.raises(SystemExit):
        recipes.parse(["--help"])
    shown = capsys.readouterr().out
    for name in vars(recipes.Settings()):
        assert f"--{name.replace('_', '-')}" in shown
    for name in recipes.RECIPES:
        assert f"\n{name}: " in shown
