import logging
import subprocess
import sys

import pytest

import ddrnet
from ddrnet.cli import main

COMMANDS = ["list", "predict", "evaluate", "benchmark", "data", "convert", "publish"]


def exit_code(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    return exit.value.code


def test_the_bare_command_prints_its_help(capsys):
    assert main([]) == 0
    bare = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out == bare


def test_help_names_every_command(capsys):
    assert exit_code("--help") == 0
    output = capsys.readouterr().out
    assert all(f"\n    {command} " in output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert exit_code(command, "--help") == 0
    assert f"usage: ddrnet {command}" in capsys.readouterr().out


def test_version(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"ddrnet {ddrnet.__version__}\n"


@pytest.mark.parametrize("arguments", [("paint",), ("predict",), ("list", "--colour")])
def test_wrong_usage_exits_with_2(arguments, capsys):
    assert exit_code(*arguments) == 2
    assert "usage: ddrnet" in capsys.readouterr().err


def test_an_error_is_one_line(capsys):
    assert main(["predict", "absent.png"]) == 1
    assert capsys.readouterr().err == "ddrnet: error: there is no file or folder absent.png\n"


def test_debug_shows_the_traceback():
    with pytest.raises(FileNotFoundError):
        main(["--debug", "predict", "absent.png"])


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "ddrnet", "predict", "absent.png"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr == "ddrnet: error: there is no file or folder absent.png\n"


def test_a_command_leaves_logging_as_it_was():
    logger = logging.getLogger("ddrnet")
    before = logger.level, list(logger.handlers)
    assert main(["list"]) == 0
    assert (logger.level, logger.handlers) == before


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file", b"a\xffb.png"), "a\\udcffb.png: No such file"),
        (ValueError("\x1b[31mred\n\n and  more"), "\\x1b[31mred and more"),
        (ValueError(""), "ValueError"),
        (OSError("no number"), "no number"),
    ],
)
def test_an_error_is_one_line_that_cannot_steer_the_terminal(error, line, capsys, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr("ddrnet.cli.demo.run", fail)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == f"ddrnet: error: {line}\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m ddrnet list | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
